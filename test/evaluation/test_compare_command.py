# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros compare` from the folders of two runs to its page, on a recording where one model makes a known mistake."""

import base64
import json
from html.parser import HTMLParser
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from yoso_ros.bags.from_dataset import write_dataset_bag
from yoso_ros.cli import evaluate_bag, main
from yoso_ros.data import PanopticSample
from yoso_ros.evaluation.pages.difference_plot import difference_bars, is_clear, signed
from yoso_ros.label_sets import load_label_set
from yoso_ros.results import PanopticResult, segments_of

LABELS = load_label_set("camvid")
STUFF = next(i for i, c in enumerate(LABELS.classes) if not c.is_thing)
THING = LABELS.thing_ids[0]
COUNT, WRONG = 12, (4, 9)


class Boxes:
    """A thing on one kind of stuff."""

    label_set = LABELS

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        ids = np.full((60, 90), 1, np.int32)
        ids[20:40, 10 + 4 * index : 40 + 4 * index] = 2
        image = np.stack([ids * 60, np.full_like(ids, index), ids * 0], axis=-1).astype(np.uint8)
        segments = [
            {"id": i, "category_id": LABELS.classes[c].dataset_id, "iscrowd": 0} for i, c in ((1, STUFF), (2, THING))
        ]
        return PanopticSample(image, ids, segments, index, f"{index}.png")


class Model:
    """Right, but in the frames of `wrong` it sees no thing."""

    label_set, backend = LABELS, "nothing-cpu"

    def __init__(self, name, wrong=()):
        self.config, self._wrong = SimpleNamespace(name=name), wrong

    def __call__(self, image):
        values = np.array([0, STUFF << 8, THING << 8 | 1], np.uint16)
        if image[0, 0, 1] in self._wrong:
            values[2] = STUFF << 8
        panoptic = values[image[..., 0] // 60]
        semantic = (panoptic >> 8).astype(np.uint8)
        timings = {"preprocess": 1.0, "inference": 2.0, "postprocess": 3.0}
        return PanopticResult(panoptic, semantic, np.full_like(semantic, 128), segments_of(panoptic, LABELS), timings)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folder with a recording and the runs `right` and `wrong` of it."""
    folder = tmp_path_factory.mktemp("runs")
    write_dataset_bag(Boxes(), folder / "bag", transport="raw")
    (folder / "weights.safetensors").write_bytes(b"some weights")
    load = evaluate_bag.load_from_arguments
    try:
        for name, model in (("right", Model("good & <b>")), ("wrong", Model("bad", WRONG))):
            evaluate_bag.load_from_arguments = lambda arguments, model=model: model
            options = ["--weights", str(folder / "weights.safetensors"), "--pictures", "0", "--save-labels"]
            assert main(["evaluate-bag", str(folder / "bag"), *options, "--output", str(folder / name)]) == 0
    finally:
        evaluate_bag.load_from_arguments = load
    return folder


class Page(HTMLParser):
    """What a page refers to and shows."""

    def __init__(self, text):
        super().__init__()
        self.images, self.text = {}, ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        assert tag not in ("script", "link", "iframe")
        if tag == "img":
            self.images.setdefault(attributes["alt"], []).append(attributes["src"])

    def handle_data(self, data):
        self.text += data


def test_two_runs(runs, capsys):
    output = runs / "compare"
    command = ["compare", str(runs / "wrong"), str(runs / "right"), "--output", str(output)]
    assert main([*command, "--seed", "3", "--pictures", "2"]) == 0
    said = capsys.readouterr().out
    result = json.loads((output / "comparison.json").read_text())
    pq = result["measures"]["PQ"]
    thing = next(r for r in result["per_class"] if r["name"] == LABELS.classes[THING].name)
    assert thing["pq_a"] == pytest.approx(100 * 10 / 11) and thing["pq_b"] == 100
    assert pq["b"] == 100 and pq["difference"] > 0 and pq["a_wins"] == 0
    # No mistake is drawn in (10/12)^12 of the resamples.
    assert pq["ties"] == pytest.approx((10 / 12) ** 12, abs=0.03)
    stamps = [row["name"] for row in result["per_frame"][:2]]
    assert sorted(stamps) == [str(10**9 + i * 10**8) for i in WRONG] and result["per_frame"][2]["difference"] == 0
    assert "No significant difference" in said and result["frames"]["common"] == COUNT

    page = Page((output / "comparison.html").read_text())
    assert "good & <b>" in page.text and "bad" in page.text and "http" not in page.text
    assert {name: len(images) for name, images in page.images.items()} == dict.fromkeys(("frame", "truth", "A", "B"), 2)
    truth, a, b = (
        cv2.imdecode(np.frombuffer(base64.b64decode(page.images[name][0].partition(",")[2]), np.uint8), 1).astype(int)
        for name in ("truth", "A", "B")
    )
    assert np.abs(truth - b).mean() < 1 < np.abs(truth - a).mean(), "A shows no thing"
    markdown = (output / "comparison.md").read_text()
    assert LABELS.classes[THING].name in markdown and "--seed=3" in markdown


def test_a_live_run_is_said_to_be_one(runs, tmp_path):
    report = json.loads((runs / "wrong" / "report.json").read_text()) | {
        "live": {"latency_ms": {"p50": 7.0, "p95": 8.0}}
    }
    (tmp_path / "report.json").write_text(json.dumps(report))
    (tmp_path / "frames.npz").write_bytes((runs / "wrong" / "frames.npz").read_bytes())
    assert main(["compare", str(tmp_path), str(runs / "right"), "--output", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "| accuracy | streaming: newest answer at each frame | each answer on its own frame |" in text
    assert "| ms per frame, p95 | 8.0 |" in text


def test_a_browser_shows_it(runs, screenshot):
    output = runs / "seen"
    assert main(["compare", str(runs / "wrong"), str(runs / "right"), "--output", str(output), "--pictures", "2"]) == 0
    page = output / "comparison.html"
    shown = screenshot(page, 3000)
    # Grey bars, for no difference is sure; text; two frames with overlays in colour.
    assert (np.abs(shown - (0xB8, 0xB8, 0xB0)).max(axis=-1) < 6).sum() > 3000
    assert (np.abs(shown - 0x22).max(axis=-1) < 6).sum() > 10_000
    assert (shown.max(axis=-1) - shown.min(axis=-1) > 60).sum() > 20_000


def test_a_run_and_itself(runs, capsys):
    assert main(["compare", str(runs / "wrong"), str(runs / "wrong"), "--output", str(runs / "same")]) == 0
    assert "No significant difference" in capsys.readouterr().out
    result = json.loads((runs / "same" / "comparison.json").read_text())
    assert result["measures"]["PQ"]["interval"] == [0, 0] and result["measures"]["PQ"]["ties"] == 1
    assert Page((runs / "same" / "comparison.html").read_text()).images == {}


def test_without_the_recording_there_are_numbers(runs, tmp_path):
    for name in ("right", "wrong"):
        (tmp_path / name).mkdir()
        report = json.loads((runs / name / "report.json").read_text()) | {"bag": str(tmp_path / "gone")}
        (tmp_path / name / "report.json").write_text(json.dumps(report))
        (tmp_path / name / "frames.npz").write_bytes((runs / name / "frames.npz").read_bytes())
    assert main(["compare", str(tmp_path / "wrong"), str(tmp_path / "right"), "--output", str(tmp_path / "out")]) == 0
    page = Page((tmp_path / "out" / "comparison.html").read_text())
    assert page.images == {} and f"1.{WRONG[0]}00000000 s" in page.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "report.json").unlink(), "expected a folder of evaluate or evaluate-bag"),
        (lambda folder: (folder / "frames.npz").unlink(), "found none: run it again"),
        (lambda folder: (folder / "report.json").write_text("{"), "expected the report of evaluate or evaluate-bag"),
        (lambda folder: (folder / "report.json").write_text("[]"), "found a list"),
    ],
)
def test_bad_input_is_one_line(runs, tmp_path, capsys, change, message):
    for name in ("report.json", "frames.npz"):
        (tmp_path / name).write_bytes((runs / "right" / name).read_bytes())
    change(tmp_path)
    assert main(["compare", str(runs / "right"), str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error and not (tmp_path / "out").exists()


def test_bars_to_both_sides_of_zero():
    nan = float("nan")
    drawn = difference_bars([("up", 4.0, (1.0, 8.0)), ("down", -2.0, (-3.0, 1.0)), ("none", nan, (nan, nan))])
    assert drawn.count("<rect") == 2 and "+4.00 [+1.00, +8.00]" in drawn and "not in both runs" in drawn
    assert [signed(v) for v in (-0.004, 0.004, -0.006, 12.0)] == ["0.00", "0.00", "-0.01", "+12.00"]
    assert is_clear((0.1, 2)) and is_clear((-2, -0.1)) and not is_clear((-1, 1)) and not is_clear((0, 0))
