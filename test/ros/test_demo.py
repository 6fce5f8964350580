# SPDX-License-Identifier: Apache-2.0
"""The demonstration and the source node over real DDS, with a segmenter whose right answer is known."""

import contextlib
import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from patience import PATIENCE_S

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

import rclpy
from node_with_test_segmenter import CAR, POISON_RED, ROAD, expected_panoptic
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from yoso_ros import node_process
from yoso_ros.bags import open_source
from yoso_ros.cli import main
from yoso_ros.demo.report import Report, table
from yoso_ros.errors import InputError
from yoso_ros.label_sets import load_label_set
from yoso_ros.node_process import DOMAINS, _is_free, reserved_domain
from yoso_ros.resources import checkpoint_path
from yoso_ros.ros.demo_command import choose_model
from yoso_ros.ros.runs.demo import Run, play_and_record
from yoso_ros.ros.runs.playback import Pacer
from yoso_ros.ros.source_node import PARAMETERS

TEST_NODE = (sys.executable, str(Path(__file__).with_name("node_with_test_segmenter.py")))


@pytest.fixture
def pictures(tmp_path):
    """Eight PNG files, a red square that wanders over green and black: (folder, list of uint8 (60, 80, 3))."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    images = []
    for i in range(8):
        image = np.zeros((60, 80, 3), np.uint8)
        image[:, 20:, 1] = 200
        image[10:30, 5 * i : 5 * i + 20] = (220, 0, 0)
        cv2.imwrite(str(folder / f"{i}.png"), image[..., ::-1])
        images.append(image)
    return folder, images


def run_demo(folder, output, **options):
    source = open_source(folder)
    options = {"count": len(source), "model": "test", "weights": None, "command": TEST_NODE, **options}
    return play_and_record(Run(source=source, label_set=load_label_set("camvid"), output=output, **options))


def test_every_frame_comes_out_as_it_must(ros_domain, pictures, tmp_path):
    folder, images = pictures
    output = tmp_path / "out"
    summary = run_demo(folder, output, rate_hz=50.0)
    counts = {
        "in_source": 8,
        "asked_for": 8,
        "sent": 8,
        "lost": 0,
        "received": 8,
        "processed": 8,
        "answered": 8,
        "dropped": 0,
        "failed": 0,
    }
    assert summary["frames"] == counts and summary["label_images_that_disagree"] == 0
    assert summary["backend"].startswith("test-") and json.loads((output / "summary.json").read_text()) == summary
    assert {p.name for p in output.iterdir()} == set(summary["files"])
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p95"]
    assert summary["stages_ms"]["latency_ms"]["p50"] < summary["latency_ms"]["p50"] + 1
    rows = list(csv.DictReader((output / "segments.csv").open()))
    for index, image in enumerate(images):
        panoptic = expected_panoptic(image)
        expected = {}
        for number in (CAR << 8 | 1, ROAD << 8):
            y, x = np.nonzero(panoptic == number)
            box = (x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1)
            expected[number] = (len(x), *box, round(x.mean(), 1), round(y.mean(), 1))
        found = {}
        for row in (row for row in rows if int(row["frame"]) == index):
            names = ("area", "box_x", "box_y", "box_width", "box_height", "centroid_x", "centroid_y")
            found[int(row["id"])] = tuple(float(row[n]) for n in names)
        assert found.keys() == expected.keys()
        for number, values in expected.items():
            assert found[number] == pytest.approx(values, abs=0.051)
    video = cv2.VideoCapture(str(output / "overlay.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 8
    more, first = video.read()
    assert more and first.shape == (60, 80, 3)
    # Where nothing is recognised the overlay is the picture itself; on the square it is red mixed with the car's blue.
    assert first[40:, :15].max() < 40
    assert first[12:28, 2:18, 2].mean() > 60 and first[12:28, 2:18, 0].mean() > 40
    sheet = cv2.imread(str(output / "contact_sheet.png"))
    assert sheet.shape[1] > 1600 and (sheet[..., 2] > 200).any()
    assert "8 sent, 0 lost, 8 received, 8 processed, 8 answered, 0 dropped, 0 failed" in "\n".join(table(summary))


def test_real_time_counts_the_drops_and_keeps_the_time(ros_domain, pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("YOSO_TEST_DELAY_S", "0.2")
    summary = run_demo(pictures[0], tmp_path / "out", rate_hz=20.0, every_frame=False)
    frames = summary["frames"]
    assert frames["sent"] == 8 and frames["dropped"] >= 3
    assert frames["processed"] == frames["answered"] == 8 - frames["lost"] - frames["dropped"]
    assert summary["stages_ms"]["inference_ms"]["p50"] >= 200
    assert "real time" in summary["mode"]
    video = cv2.VideoCapture(str(tmp_path / "out/overlay.mp4"))
    last_answered = max(int(r["frame"]) for r in csv.DictReader((tmp_path / "out/segments.csv").open()))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == last_answered + 1


def test_a_failed_frame_is_counted_and_the_others_are_answered(ros_domain, pictures, tmp_path):
    folder, images = pictures
    images[3][0, 0] = (POISON_RED, 0, 0)
    cv2.imwrite(str(folder / "3.png"), images[3][..., ::-1])
    frames = run_demo(folder, tmp_path / "out", rate_hz=50.0)["frames"]
    assert (frames["sent"], frames["failed"], frames["answered"], frames["dropped"]) == (8, 1, 7, 0)
    indices = {int(r["frame"]) for r in csv.DictReader((tmp_path / "out/segments.csv").open())}
    assert indices == {0, 1, 2, 4, 5, 6, 7}


def test_frames_that_never_arrive_at_first_do_not_stop_it(ros_domain, pictures, tmp_path):
    """As when the node has not found the publisher yet: its first two messages are lost."""
    deaf = tmp_path / "deaf.py"
    deaf.write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from node_with_test_segmenter import ColourSegmenter\n"
        "from yoso_ros.ros.camera import Camera\n"
        "from yoso_ros.ros.node import main\n"
        "hear, lost = Camera._on_image, []\n"
        "Camera._on_image = lambda self, m: hear(self, m) if len(lost) > 1 else lost.append(m)\n"
        "sys.exit(main(load_segmenter=ColourSegmenter))\n"
    )
    command = (sys.executable, str(deaf))
    frames = run_demo(pictures[0], tmp_path / "out", rate_hz=50.0, command=command)["frames"]
    assert (frames["sent"], frames["lost"], frames["received"], frames["answered"]) == (8, 0, 8, 8)


def test_a_node_that_dies_is_reported_with_its_last_lines(ros_domain, pictures, tmp_path):
    with pytest.raises(InputError, match="status 2(.|\n)*expected a model in config/models, found 'missing'"):
        run_demo(pictures[0], tmp_path / "out", model="missing")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["node.log"]


def test_compressed_bag_is_sent_as_stored(ros_domain, shared_data, tmp_path):
    summary = run_demo(shared_data / "data/bags/kitti_drive_mcap", tmp_path / "out", count=3)
    assert summary["frames"]["answered"] == 3
    assert "image_raw/compressed" in (tmp_path / "out/node.log").read_text()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--source", "/no/such/bag"], "no such source"),
        (["--frames", "0"], "--frames"),
        (["--rate", "-3"], "--rate"),
        (["--model", "no_such_model"], "unknown model"),
    ],
)
def test_bad_options_are_one_line_and_status_2(tmp_path, capsys, arguments, text):
    assert main(["demo", "--output", str(tmp_path / "out"), *arguments]) == 2
    assert text in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_shipped_checkpoint_end_to_end(ros_domain, tmp_path):
    """`yoso-ros demo` as a user calls it, with the network: the rendered scene at the node, one process each."""
    model, _ = choose_model("synthetic")
    if not checkpoint_path(model).is_file():
        pytest.skip(f"needs the shipped checkpoint of {model}")
    command = [sys.executable, "-m", "yoso_ros", "demo", "--frames", "3", "--output", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["frames"]["answered"] == 3 and summary["label_images_that_disagree"] == 0
    assert "contact_sheet.png" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_demo_takes_the_node_with_it(ros_domain, start_process, tmp_path, number):
    model, _ = choose_model("synthetic")
    if not checkpoint_path(model).is_file():
        pytest.skip(f"needs the shipped checkpoint of {model}")
    command = [sys.executable, "-m", "yoso_ros", "demo", "--output", str(tmp_path / "out")]
    nodes = []
    with open(tmp_path / "output", "wb") as sink, subprocess.Popen(command, stdout=sink, stderr=sink) as process:
        try:
            deadline = time.monotonic() + PATIENCE_S
            # A child has no command line for a moment, between its fork and its exec.
            while not nodes or b"yoso_ros.ros.node" not in Path(f"/proc/{nodes[0]}/cmdline").read_bytes():
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.1)
                nodes = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            process.send_signal(number)
            assert process.wait(PATIENCE_S) == 130
        except BaseException:
            process.kill()
            for node in nodes:  # it has a session of its own, and nobody else would end it
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(node), signal.SIGKILL)
            raise
    assert not Path(f"/proc/{nodes[0]}").exists()
    assert "Traceback" not in (tmp_path / "output").read_text()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["node.log"]


def test_an_interrupt_in_the_start_of_the_node_leaves_no_node_behind(ros_domain, pictures, tmp_path, monkeypatch):
    popen, started = subprocess.Popen, []

    def start_and_interrupt(*arguments, **options):
        started.append(popen(*arguments, **options))
        signal.raise_signal(signal.SIGTERM)
        return started[0]

    monkeypatch.setattr(node_process.subprocess, "Popen", start_and_interrupt)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_demo(pictures[0], tmp_path, command=(sys.executable, "-c", "import time; time.sleep(600)"))
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)
        status = started[0].poll()
        started[0].kill()
    assert status is not None


def test_quality_against_the_truth_of_the_scene(tmp_path):
    """Perfect labels give 100; with every box called a cylinder, boxes and cylinders have no match of their own."""
    from yoso_ros.demo.answers import Answer

    frame, picture = next(iter(open_source("synthetic"))), np.zeros((480, 640, 3), np.uint8)
    label_set = load_label_set("synthetic")
    results = []
    for confuse in (False, True):
        labels = frame.truth.copy()
        if confuse:
            labels[labels >> 8 == 3] += 1 << 8
        report = Report(tmp_path / str(confuse), label_set, 1, 10.0, lambda _: picture)
        report.add(Answer(0, frame, labels, (labels >> 8).astype(np.uint8), picture, [], {}, 5.0, 0.0, 0.005))
        facts = {"source": "synthetic", "model": "m", "weights": "w", "backend": "b", "mode": "x"}
        results.append(report.finish(facts, {})["panoptic_quality"])
    assert results[0]["All"]["PQ"] == pytest.approx(100) and results[1]["Stuff"]["PQ"] == pytest.approx(100)
    assert results[1]["Things"]["PQ"] < 70


def test_a_reserved_domain_has_its_ports_free_and_is_nobody_elses(monkeypatch):
    monkeypatch.setattr(node_process, "DOMAINS", DOMAINS[40:42])
    with reserved_domain() as one, reserved_domain() as other:
        assert {one, other} == set(DOMAINS[40:42])
        with pytest.raises(InputError, match="every ROS domain from 41 to 42 is in use"), reserved_domain():
            pass
    with reserved_domain() as domain:
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("", 7400 + 250 * domain))
        assert not _is_free(7400 + 250 * domain)
    assert _is_free(7400 + 250 * domain)


def test_pacer_follows_stamps_or_rate(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("yoso_ros.ros.runs.playback.time.monotonic", lambda: now[0])
    pacer = Pacer()
    assert pacer.seconds_until(5_000_000_000) == 0
    assert pacer.seconds_until(5_250_000_000) == pytest.approx(0.25)
    now[0] = 101.0  # late: goes out at once, and the next one is due from here
    assert pacer.seconds_until(5_300_000_000) == 0
    assert pacer.seconds_until(5_400_000_000) == pytest.approx(0.1)
    fixed = Pacer(4.0)
    assert [fixed.seconds_until(stamp) for stamp in (0, 1, 2)] == pytest.approx([0, 0.25, 0.5])


class Listener:
    """Keeps the messages of a topic, in a context of its own."""

    def __init__(self, domain, **topics):
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node = rclpy.create_node("listener", context=self._context)
        self._executor = rclpy.executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self.messages = {name: [] for name in topics}
        for name, (message_type, topic) in topics.items():
            self._node.create_subscription(message_type, topic, self.messages[name].append, 20)

    def spin_until_ended(self, process):
        while process.returncode is None:
            self._executor.spin_once(timeout_sec=0.05)
        for _ in range(50):
            self._executor.spin_once(timeout_sec=0.0)

    def close(self):
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()


def source_node(start_process, **parameters):
    arguments = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    return start_process([sys.executable, "-m", "yoso_ros.ros.source_node", "--ros-args", *arguments])


def test_source_node_plays_a_bag_as_recorded(ros_domain, shared_data, start_process):
    bag = shared_data / "data/bags/highway_raw_sqlite3"
    topics = {"images": (Image, "/image_raw"), "infos": (CameraInfo, "/camera_info"), "clock": (Clock, "/clock")}
    listener = Listener(ros_domain, **topics)
    try:
        process = source_node(start_process, source=bag, stamps="recorded", clock="true")
        listener.spin_until_ended(process)
        assert process.returncode == 0, process.output()
        frames = list(open_source(bag))
        images = listener.messages["images"]
        assert [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in images] == [f.stamp_ns for f in frames]
        times = [m.clock.sec * 10**9 + m.clock.nanosec for m in listener.messages["clock"]]
        assert times == [f.stamp_ns for f in frames]
        for message, frame in zip(images, frames, strict=True):
            assert (message.encoding, message.step, message.header.frame_id) == ("bgr8", 2880, frame.frame_id)
            assert message.data.tobytes() == frame.image.data.tobytes()
        infos = {m.header.stamp.nanosec: m for m in listener.messages["infos"]}
        assert len(infos) == len(frames)
        np.testing.assert_array_equal(infos[40_000_000].k, frames[1].camera_info.k)
    finally:
        listener.close()


def test_source_node_loops_with_rising_stamps(ros_domain, shared_data, start_process):
    bag = shared_data / "data/bags/kitti_drive_mcap"
    listener = Listener(ros_domain, images=(CompressedImage, "/image_raw/compressed"))
    try:
        process = source_node(start_process, source=bag, stamps="recorded", loop="true", rate_hz="100.0")
        images = listener.messages["images"]
        while len(images) < 25:
            assert process.returncode is None, process.output()
            listener._executor.spin_once(timeout_sec=0.1)
        assert process.stop() == 0
        assert "Traceback" not in process.output()
        stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in images]
        assert stamps == sorted(set(stamps))
        assert images[10].data == images[0].data and images[1].data != images[0].data
    finally:
        listener.close()


def test_source_node_waits_for_the_last_answer(ros_domain, pictures, start_process):
    start_process([*TEST_NODE], environment={"YOSO_TEST_DELAY_S": "1.0"})
    process = source_node(start_process, source=pictures[0], rate_hz="30.0", stats="/yoso/stats")
    assert process.wait(PATIENCE_S) == 0
    fate = re.search(r"/yoso/stats: received 8, processed (\d), dropped (\d), failed 0", process.output())
    assert fate and sum(map(int, fate.groups())) == 8, process.output()


def test_source_node_says_that_nobody_tells_of_the_frames(ros_domain, pictures, start_process):
    process = source_node(start_process, source=pictures[0], stats="/nobody", wait_for_subscriber="false")
    assert process.wait(PATIENCE_S) == 0
    assert "/nobody does not tell what became of all 8 frames: received 0" in process.output()


@pytest.mark.parametrize(
    ("name", "value"),
    [("source", "/no/such"), ("rate_hz", "-1.0"), ("reliability", "maybe"), ("clock", "true")],
)
def test_source_node_refuses(ros_domain, start_process, name, value):
    process = source_node(start_process, **{name: value})
    assert process.wait(PATIENCE_S) == 2
    assert value.strip("-") in process.output() and "Traceback" not in process.output()
    assert name in PARAMETERS
