# SPDX-License-Identifier: Apache-2.0
"""evaluate-bag --live with real processes over DDS: the counts add up and the accuracy is that of the same frames."""

import base64
import json
import re
import signal
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")

from node_with_test_segmenter import CAR, ROAD, ColourSegmenter

from yoso_ros.bags import open_source
from yoso_ros.bags.from_dataset import write_dataset_bag
from yoso_ros.bags.labels import TRUTH_PREFIX, LabelFrame, Labels
from yoso_ros.benchmark import bench_processes
from yoso_ros.cli import evaluate_bag_live, main
from yoso_ros.evaluation.pages import live as live_page
from yoso_ros.evaluation.recordings.truth import TruthScores
from yoso_ros.images.decoding import decode_image
from yoso_ros.label_sets import load_label_set
from yoso_ros.results import UNLABELLED_ID

pytestmark = pytest.mark.ros
NODE = [sys.executable, str(Path(__file__).with_name("node_with_test_segmenter.py"))]
LABELS = load_label_set("camvid")
COUNT, HZ, DELAY_S = 24, 20.0, 0.08


class Street:
    """A red car that drives over green road; the truth is a little to the right of it."""

    label_set = LABELS

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        image = np.zeros((48, 96, 3), np.uint8)
        image[..., 1] = 200
        image[10:30, 2 * index : 2 * index + 30] = (200, 0, index)
        ids = np.full((48, 96), 1, np.int32)
        ids[10:30, 2 * index + 3 : 2 * index + 33] = 2
        segments = [
            {"id": i + 1, "category_id": LABELS.classes[c].dataset_id, "iscrowd": 0} for i, c in enumerate((ROAD, CAR))
        ]
        return SimpleNamespace(image=image, ids=ids, segments=segments, image_id=index, file_name=str(index))


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    path = tmp_path_factory.mktemp("street") / "street"
    write_dataset_bag(Street(), path, transport="raw", rate_hz=HZ)
    return path


@pytest.fixture(scope="module")
def live_run(street, tmp_path_factory):
    """Folder of a run at a node that takes longer for a frame than the camera."""
    output = tmp_path_factory.mktemp("live") / "out"
    started = bench_processes.NodeProcess
    # What the command does to the signals ends with it.
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOSO_TEST_DELAY_S", str(DELAY_S))
        patch.setattr(bench_processes, "NodeProcess", lambda *given: started(*given[:4], command=NODE))
        arguments = ["--model", "yoso_mobilenetv2_camvid", "--output", str(output)]
        status = main(["evaluate-bag", str(street), "--live", *arguments])
    for number, handler in before.items():
        signal.signal(number, handler)
    assert status == 0
    return output


def scored(pairs):
    scores = TruthScores(LABELS, LABELS)
    for answer, truth in pairs:
        scores.add(answer, truth, "")
    return scores.scores.compute()


def check_errors(page, truth, said):
    """The first picture of errors is red where a pixel got another class."""
    data = re.findall(r'alt="errors" src="data:image/jpeg;base64,([^"]+)"', page)[0]
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    picture = picture[..., ::-1].astype(int)
    wrong = np.where(truth == 2, CAR, ROAD) != said.panoptic >> 8
    assert ((picture[..., 0] - picture[..., 1] > 60) == wrong).mean() > 0.97 and wrong.any()


def test_counts_and_accuracy_of_a_run(street, live_run):
    output = live_run
    files = ["frames.npz", "node.log", "report.html", "report.json", "report.md"]
    assert sorted(p.name for p in output.iterdir()) == files
    report = json.loads((output / "report.json").read_text())
    live, frames, rows = report["live"], report["live"]["frames"], report["per_frame"]
    assert report["backend"] == "test-auto-auto" and live["reached_hz"] == pytest.approx(HZ, rel=0.2)
    # A frame takes 80 ms and comes every 50: a part is dropped.
    assert frames["played"] == COUNT == len(rows) and frames["failed"] == 0
    assert frames["dropped"] >= 4 and frames["answered"] >= 6
    assert frames["received"] == frames["processed"] + frames["dropped"]
    assert frames["lost_in"] == COUNT - frames["received"] and frames["lost_out"] >= 0
    assert frames["answered"] == frames["processed"] - frames["lost_out"]
    latency = [row["latency_ms"] for row in rows]
    answered = [i for i, ms in enumerate(latency) if ms is not None]
    assert len(answered) == frames["answered"] and min(latency[i] for i in answered) >= 1e3 * DELAY_S
    assert live["latency_ms"]["p50"] == pytest.approx(np.median([latency[i] for i in answered]))
    assert live["stages_ms"]["inference"] == pytest.approx(1e3 * DELAY_S, rel=0.2)
    assert live["interval_ms"]["p50"] >= 1e3 * DELAY_S * 0.9 and live["memory_mb"] > 20
    # Offline, on the same frames, and paired literally by the times in the report.
    source = open_source(street)
    said = [ColourSegmenter("")(decode_image(frame.image)) for frame in source]
    truth = list(Labels(source.bag, TRUTH_PREFIX))
    offline = scored((said[i], truth[i]) for i in answered)
    assert 20 < offline["panoptic_quality"]["All"]["PQ"] < 95
    assert report["answered"]["panoptic_quality"]["All"] == offline["panoptic_quality"]["All"]
    assert report["answered"]["mean_iou"] == offline["mean_iou"]
    nothing = LabelFrame(0, np.full((48, 96), UNLABELLED_ID, np.uint16), [])
    pairs = []
    for i, row in enumerate(rows):
        there = [j for j in answered if rows[j]["published_s"] + 1e-3 * latency[j] <= row["published_s"]]
        pairs.append((said[there[-1]] if there else nothing, truth[i]))
    streaming = scored(pairs)
    assert report["streaming"]["panoptic_quality"]["All"] == streaming["panoptic_quality"]["All"]
    assert report["streaming"]["images"] == COUNT and report["answered"]["images"] == len(answered)
    assert streaming["panoptic_quality"]["All"]["PQ"] < offline["panoptic_quality"]["All"]["PQ"]
    page = (output / "report.html").read_text()
    titles = ("PQ per class", "Confusion of classes", "Accuracy by latency", "Answered frames over time")
    for title in (*titles, "Latency over the recording", "Times, ms", "Worst answers"):
        assert title in page
    assert np.array(report["answered"]["confusion"]["matrix"]).sum() == 48 * 96 * len(answered)
    worst = sorted(answered, key=lambda i: (rows[i]["PQ"], i))[:6]
    assert [int(i) for i in re.findall(r"<h3>frame (\d+): PQ", page)] == worst
    assert re.findall(r'<img alt="(\w+)"', page) == ["frame", "prediction", "truth", "errors"] * 6
    check_errors(page, Street()[worst[0]].ids, said[worst[0]])
    assert "http" not in page and f"| played | {COUNT} |" in (output / "report.md").read_text()


def test_a_browser_shows_it(live_run, screenshot):
    shown = screenshot(live_run / "report.html", 4200)
    # Lines and bars blue, frames without an answer red, the diagonal of the confusion green, text.
    for color, least in (((0x44, 0x77, 0xAA), 5000), ((0xBB, 0x3C, 0x3C), 2000), ((34, 119, 51), 300)):
        assert (np.abs(shown - color).max(axis=-1) < 12).sum() > least
    assert (np.abs(shown - 0x22).max(axis=-1) < 6).sum() > 10_000
    # The worst answers are pictures in colour: in the lower half.
    assert (shown[2100:].max(axis=-1) - shown[2100:].min(axis=-1) > 90).sum() > 50_000


def test_at_a_node_that_runs_already(street, tmp_path, ros_domain, start_process):
    node = start_process([*NODE, "--ros-args", "-r", "__node:=other", "-r", "image_raw:=/front/image_raw"], 50)
    command = [sys.executable, "-m", "yoso_ros", "evaluate-bag", street, "--live", "--node", "/other"]
    command += ["--input-topic", "/front/image_raw", "--hz", "10", "--frames", "8", "--no-truth", "--start", "0.3"]
    live = start_process([*command, "--output", tmp_path / "out"], 50)
    assert live.wait() == 0, live.output()
    assert node.returncode is None
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["live"]["frames"]["played"] == 8 and report["live"]["frames"]["answered"] >= 6
    assert report["live"]["memory_mb"] is None and report["live"]["node"] == "/other" and "answered" not in report
    assert report["live"]["reached_hz"] == pytest.approx(10, rel=0.1) and report["weights"] == "of the running node"
    assert [row["stamp_ns"] for row in report["per_frame"]] == [f.stamp_ns for f in open_source(street)][6:14]
    assert "8 frames at" in live.output() and "% of one core" not in live.output()


def test_the_sweep_and_its_part_of_the_report():
    """A node that answers at most 22 frames a second loses the rest."""

    class Bench:
        def run(self, rate, seconds):
            loss, latency = max(0.0, 1 - 22 / rate), 10 + rate
            return SimpleNamespace(rate_hz=rate, reached_hz=rate, loss=loss, percentile=lambda p: latency + p)

    sweep = evaluate_bag_live._sweep(Bench(), (5.0, 40.0, 1.0))
    assert sweep["highest_hz"] == 23 and sweep["loss_percent"] == pytest.approx(100 / 23)
    assert [run["rate_hz"] for run in sweep["runs"][-5:]] == [23] * 5 and sweep["step_hz"] == 1
    html = "".join(live_page._sweep(sweep))
    for drawing in re.findall(r"<svg.*?</svg>", html):
        assert ElementTree.fromstring(drawing).tag == "svg"
    assert "23 Hz, searched 5 to 40 Hz in steps of 1 Hz" in html and html.count("<tr>") == len(sweep["runs"]) + 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sweep"], "--sweep needs --live"),
        (["--node", "/yoso"], "--node needs --live"),
        (["--live", "--rate", "0"], "--rate: expected more than 0, found 0"),
        (["--live", "--hz", "2000"], "--hz: expected 0 (as recorded) to 1000 frames per second, found 2000"),
        (["--live", "--frames", "1"], "expected two frames or more to play, found 1"),
        (["--hz", "5"], "--hz needs --live"),
        (["--rate", "2"], "--rate needs --live"),
        (["--live", "--sweep-rates", "5", "4", "1"], "--sweep-rates: expected LOW HIGH STEP with LOW up to HIGH"),
        (["--live", "--input-topic", "/image"], "--input-topic: expected a name that ends in image_raw"),
    ],
)
def test_bad_options_are_one_line(street, tmp_path, capsys, options, message):
    assert main(["evaluate-bag", str(street), "--output", str(tmp_path / "out"), *options]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
