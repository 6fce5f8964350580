# SPDX-License-Identifier: Apache-2.0
"""The report of a replay: complete, right, and shown by a browser without a network."""

import base64
import csv
import hashlib
import json
import re
import shlex
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from yoso_ros.bags.from_dataset import write_dataset_bag
from yoso_ros.bags.labels import LabelFrame
from yoso_ros.cli import build_parser, evaluate_bag, main
from yoso_ros.data import PanopticSample
from yoso_ros.evaluation.pages import plots
from yoso_ros.evaluation.recordings.replay import ReplayedFrame
from yoso_ros.evaluation.recordings.worst_frames import WRONG_CLASS, WRONG_SEGMENT, WorstFrames, error_picture
from yoso_ros.label_sets import load_label_set
from yoso_ros.results import UNLABELLED_ID, PanopticResult, segments_of

LABELS = load_label_set("camvid")
STUFF = [i for i, c in enumerate(LABELS.classes) if not c.is_thing][:2]
THING = LABELS.thing_ids[0]
COUNT, WORST = 8, 5


class Boxes:
    """Frames of two stuff halves and one thing; in frame 5 the model takes the thing for stuff, see `Model`."""

    label_set = LABELS

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        ids = np.full((60, 90), 1, np.int32)
        ids[30:] = 2
        ids[20:40, 10 + 5 * index : 40 + 5 * index] = 3
        image = np.stack([ids * 60, np.full_like(ids, index), ids * 0], axis=-1).astype(np.uint8)
        classes = [*STUFF, THING]
        segments = [
            {"id": i + 1, "category_id": LABELS.classes[c].dataset_id, "iscrowd": 0} for i, c in enumerate(classes)
        ]
        return PanopticSample(image, ids, segments, index, f"{index}.png")


class Model:
    """Right but for frame `WORST`."""

    label_set, backend, config = LABELS, "nothing-cpu", SimpleNamespace(name="<i>boxes</i> & co")

    def __call__(self, image):
        values = np.array([UNLABELLED_ID, STUFF[0] << 8, STUFF[1] << 8, THING << 8 | 1], np.uint16)
        if image[0, 0, 1] == WORST:
            values[3] = STUFF[0] << 8
        panoptic = values[image[..., 0] // 60]
        semantic = (panoptic >> 8).astype(np.uint8)
        timings = {"preprocess": 1.0, "inference": 2.0, "postprocess": 3.0}
        return PanopticResult(panoptic, semantic, np.full_like(semantic, 128), segments_of(panoptic, LABELS), timings)


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Folder with the reports `truth` and `plain` (its truth left aside) of one recording, made by the command."""
    folder = tmp_path_factory.mktemp("reports")
    write_dataset_bag(Boxes(), folder / "my bag", transport="raw")
    (folder / "weights.safetensors").write_bytes(b"some weights")
    load, evaluate_bag.load_from_arguments = evaluate_bag.load_from_arguments, lambda arguments: Model()
    try:
        options = [str(folder / "my bag"), "--weights", str(folder / "weights.safetensors"), "--pictures", "3"]
        assert main(["evaluate-bag", *options, "--output", str(folder / "truth")]) == 0
        assert main(["evaluate-bag", *options, "--output", str(folder / "plain"), "--no-truth"]) == 0
    finally:
        evaluate_bag.load_from_arguments = load
    return folder


class Page(HTMLParser):
    """Checks that tags are closed, and collects what a page refers to and shows."""

    VOID = ("meta", "img", "rect", "path", "polyline")

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.images, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.links += [v for k, v in attributes.items() if k in ("src", "href", "srcset", "action") and v]
        assert tag not in ("script", "link", "iframe")
        if tag == "img":
            self.images.append((attributes["alt"], attributes["src"]))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        if tag not in self.VOID or self.open[-1] == tag:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_files_of_a_report_with_truth(reports):
    folder = reports / "truth"
    names = ["frames.npz", "report.html", "report.json", "report.md", "segments.csv"]
    assert sorted(p.name for p in folder.iterdir()) == names
    report = json.loads((folder / "report.json").read_text())
    assert report["frames"]["with_truth"] == COUNT and report["topic"] == "/camera/image_raw"
    # One of eight things is missed: 7 hits of IoU 1.
    thing = next(r for r in report["per_class"] if r["name"] == LABELS.classes[THING].name)
    assert (thing["tp"], thing["fp"], thing["fn"]) == (7, 0, 1) and thing["pq"] == pytest.approx(7 / 7.5)
    assert report["weights_sha256"] == hashlib.sha256(b"some weights").hexdigest()
    assert {"yoso_ros", "python", "torch", "numpy", "rosbags"} <= report["versions"].keys()
    assert int(report["hardware"]["cores"]) >= 1
    rows = list(csv.DictReader((folder / "segments.csv").open()))
    assert len(rows) == 3 * COUNT - 1
    first = next(r for r in rows if r["frame"] == "0" and r["is_thing"] == "1")
    place = [first[n] for n in ("stamp", "x", "y", "width", "height", "area")]
    assert place == ["1.000000000", "10", "20", "30", "20", "600"]
    markdown = (folder / "report.md").read_text()
    assert f"| {thing['name']} | thing | 93.3 | 100.0 | 93.3 |" in markdown and "8 frames evaluated" in markdown


def test_the_command_in_the_report_does_it_again(reports):
    command = shlex.split(json.loads((reports / "plain/report.json").read_text())["command"])
    arguments = build_parser("evaluate-bag").parse_args(command[1:])
    assert command[0] == "yoso-ros" and arguments.bag == [str(reports / "my bag")] and arguments.no_truth
    assert arguments.output == str(reports / "plain") and arguments.pictures == 3 and arguments.topic is None


def test_a_part_of_the_recording(reports, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(evaluate_bag, "load_from_arguments", lambda arguments: Model())
    options = [str(reports / "my bag"), "--weights", str(reports / "weights.safetensors"), "--output", str(tmp_path)]
    assert main(["evaluate-bag", *options, "--start", "0.2", "--stop", "0.5"]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert [row["stamp_ns"] for row in report["per_frame"]] == [10**9 + i * 10**8 for i in (2, 3, 4)]
    assert report["frames"]["with_truth"] == 3 and "--start 0.2 --stop 0.5" in report["command"]
    assert main(["evaluate-bag", *options, "--start", "0.4", "--frames", "2"]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert [row["stamp_ns"] for row in report["per_frame"]] == [10**9 + i * 10**8 for i in (4, 5)]
    assert "--start 0.4 --frames 2" in report["command"] and report["frames"]["in_recording"] == 2
    capsys.readouterr()
    assert main(["evaluate-bag", *options, "--start", "0.8"]) == 2
    assert "expected frames between 0.8 s and the end, found none among 8" in capsys.readouterr().err


def test_the_page_is_whole_and_needs_no_network(reports):
    text = (reports / "truth/report.html").read_text()
    page = Page(text)
    assert page.links and all(link.startswith("data:image/jpeg;base64,") for link in page.links)
    assert "http" not in text and "@import" not in text and "url(" not in text
    assert "<i>boxes</i> & co" in page.text  # names are text, never markup
    titles = ("Accuracy", "PQ per class", "Confusion of classes", "Time per frame", "Stability", "Segments found")
    for title in (*titles, "Worst frames", "How it was made"):
        assert title in page.text
    assert f"frame {WORST}: PQ" in page.text
    # Three frames with four pictures each; the worst one comes first and its errors are the missed thing.
    assert [alt for alt, _ in page.images] == ["frame", "prediction", "truth", "errors"] * 3
    data = np.frombuffer(base64.b64decode(page.images[3][1].partition(",")[2]), np.uint8)
    errors = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    red = errors[..., 0] - errors[..., 1] > 60
    expected = Boxes()[WORST].ids == 3
    assert (red == expected).mean() > 0.97
    for drawing in re.findall(r"<svg.*?</svg>", text):
        ElementTree.fromstring(drawing)
    assert len(re.findall("<svg", text)) == 5


def test_the_page_without_truth(reports):
    text = (reports / "plain/report.html").read_text()
    page = Page(text)
    assert "Accuracy" not in page.text and "Frames with the lowest confidence" in page.text
    assert [alt for alt, _ in page.images] == ["frame", "prediction"] * 3
    report = json.loads((reports / "plain/report.json").read_text())
    assert report["frames"]["with_truth"] == 0 and "panoptic_quality" not in report
    assert report["per_frame"][0]["PQ"] is None and "NaN" not in (reports / "plain/report.json").read_text()


def test_a_browser_shows_it(reports, screenshot):
    shown = screenshot(reports / "truth/report.html", 3000)
    # The colours of the plots: bars and lines blue, the diagonal of the confusion matrix green, the errors red.
    for color, least in (((0x44, 0x77, 0xAA), 2000), ((34, 119, 51), 300)):
        assert (np.abs(shown - color).max(axis=-1) < 12).sum() > least
    assert (shown[..., 0] - shown[..., 1:].max(axis=-1) > 90).sum() > 1000
    assert (np.abs(shown - 0x22).max(axis=-1) < 20).sum() > 3000  # text


def replayed(index, pq):
    panoptic = np.full((4, 4), STUFF[0] << 8, np.uint16)
    result = PanopticResult(panoptic, (panoptic >> 8).astype(np.uint8), panoptic.astype(np.uint8), [], {})
    truth = LabelFrame(index, panoptic, [])
    return ReplayedFrame(index, index, np.zeros((4, 4, 3), np.uint8), result, truth, pq, {"confidence_percent": -pq})


@pytest.mark.parametrize("with_truth", [True, False])
def test_the_worst_frames_are_kept_worst_first(with_truth):
    drawn = []
    worst = WorstFrames(3, LABELS, LABELS if with_truth else None, lambda image, _: drawn.append(1) or image)
    values = [50.0, 40.0, float("nan"), 60.0, 40.0, 10.0, 90.0]
    for index, value in enumerate(values):
        worst.add(replayed(index, value))
    expected = [5, 1, 4] if with_truth else [6, 3, 0]
    assert [entry["index"] for entry in worst.compute()] == expected
    none = WorstFrames(0, LABELS, LABELS, None)
    none.add(replayed(0, 1.0))
    assert none.compute() == []


def test_error_picture_by_hand():
    image = np.full((1, 8, 3), 100, np.uint8)
    thing, stuff, void = THING << 8, STUFF[0] << 8, UNLABELLED_ID
    truth = np.array([[void, stuff, stuff, thing | 1, thing | 1, thing | 1, thing | 1, thing | 2]], np.uint16)
    # Void; stuff of 2 pixels found on 3, a match; a thing found by half, no match; a thing with another number.
    predicted = np.array([[thing, stuff, stuff, thing | 9, thing | 9, void, stuff, thing | 7]], np.uint16)
    picture = error_picture(image, predicted, truth)[0].astype(int)
    grey = picture[0].tolist()
    assert len(set(grey)) == 1

    def color(pixel):
        for name, value in (("class", WRONG_CLASS), ("segment", WRONG_SEGMENT)):
            if np.abs(pixel - (np.array(grey) // 3 + np.array(value) // 3 * 2)).max() <= 1:
                return name
        return "right" if pixel.tolist() == grey else "?"

    expected = ["right", "right", "right", "segment", "segment", "class", "class", "right"]
    assert [color(pixel) for pixel in picture] == expected


def test_plots_with_few_many_and_missing_values():
    nan = float("nan")
    for drawing in (
        plots.timeline([3.0], "ms"),
        plots.timeline([nan, 1.0, nan, 2.0, 3.0], "ms"),
        plots.timeline(range(5000), "ms"),
        plots.histogram([2.0, 2.0], "ms"),
        plots.bars([("a < b", 30.0, "red"), ("c", nan, "red")]),
        plots.matrix(["a & b", "c"], ["a & b", "c", "none"], [[3, 1, 0], [0, 0, 0]]),
    ):
        ElementTree.fromstring(drawing)
    assert plots.timeline([nan, nan], "ms") == ""
    assert plots.timeline([nan, 1.0, nan, 2.0, 3.0], "ms").count("<polyline") == 2
    # A single slow frame among thousands is seen, and so is a single bad one.
    assert ">50.0<" in plots.timeline([1.0] * 2000 + [50.0] + [1.0] * 2000, "ms")
    dip = plots.timeline([90.0] * 2000 + [0.0] + [90.0] * 2000, "PQ", np.nanmin)
    assert f",{plots.PLOT_HEIGHT:.1f}" in dip
    width = re.findall(r'<rect[^>]*width="([\d.]+)"', plots.bars([("a", 25.0, "red"), ("b", 50.0, "red")]))
    assert float(width[1]) == 2 * float(width[0])
    drawn = plots.matrix(["a", "c"], ["a", "c", "none"], [[3, 1, 0], [0, 0, 0]])
    assert ">75<" in drawn and ">25<" in drawn and drawn.count("<rect") == 3  # a class without a pixel has no row


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["nowhere"], "no such source: nowhere"),
        (["synthetic"], "expected a recording"),
        (["{}", "--pictures", "-1"], "--pictures: expected 0 or more"),
        (["{}", "--frames", "0"], "--frames: expected 1 or more, found 0"),
        (["{}", "--topic", "/none"], "no image topic '/none'"),
        (
            ["{}", "--truth", "/none"],
            "expected /none/image_raw and /none/segments; panoptic topics in it: /ground_truth",
        ),
    ],
)
def test_bad_input_is_one_line(reports, tmp_path, capsys, monkeypatch, options, message):
    monkeypatch.setattr(evaluate_bag, "load_from_arguments", lambda arguments: Model())
    options = [option.format(reports / "my bag") for option in options]
    assert main(["evaluate-bag", *options, "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error and not (tmp_path / "out/report.json").exists()
