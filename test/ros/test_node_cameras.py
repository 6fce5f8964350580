# SPDX-License-Identifier: Apache-2.0
"""Several cameras in one node: own topics each, one pass for all of them, and none starves beside a faster one."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")

from node_probe import FRAME_ID, QOS, Probe, pixels_of
from node_with_test_segmenter import CAR, POISON_RED, ROAD, expected_panoptic
from sensor_msgs.msg import Image

from yoso_ros.msg import InferenceStats

pytestmark = pytest.mark.ros
NODE = Path(__file__).with_name("node_with_test_segmenter.py")
CAMERAS = ("front", "rear", "left")
DELAY_S = 0.15  # of one pass
RED, GREEN = (np.full((12, 16, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 255, 0)))


class Cameras:
    """Publishers of all cameras and what the node answers to each."""

    def __init__(self):
        topics = {f"{name}/panoptic/image_raw": Image for name in CAMERAS}
        self.probe = Probe(topics, defaults=False)
        node = self.probe.node
        self.publishers = {name: node.create_publisher(Image, f"/{name}/image_raw", QOS) for name in CAMERAS}
        self.stats = {name: [] for name in CAMERAS}
        for name in CAMERAS:
            node.create_subscription(InferenceStats, f"/yoso/{name}/stats", self.stats[name].append, QOS)

    def connect(self):
        probe, names = self.probe, [f"/yoso/{name}" for name in self.probe.received]
        probe.until(
            lambda: (
                all(p.get_subscription_count() for p in self.publishers.values())
                and all(probe.node.count_publishers(name) for name in (*names, "/yoso/left/stats"))
            ),
            "the node reads all cameras",
        )
        probe.be_known()

    def send(self, name, pixels, second):
        self.publishers[name].publish(self.probe.message(pixels, second))

    def answers(self, name):
        return self.probe.received[f"{name}/panoptic/image_raw"]


@pytest.fixture
def cameras(ros_domain, start_process):
    arguments = ["--ros-args", "-p", f"cameras:=[{', '.join(CAMERAS)}]"]
    start_process([sys.executable, NODE, *arguments], environment={"YOSO_TEST_DELAY_S": str(DELAY_S)})
    cameras = Cameras()
    cameras.connect()
    yield cameras
    cameras.probe.close()


def test_each_camera_gets_the_answer_to_its_own_picture(cameras):
    pictures = {"front": RED, "rear": GREEN, "left": np.full((7, 9, 3), (255, 0, 0), np.uint8)}
    for name, pixels in pictures.items():
        cameras.send(name, pixels, 5)
    cameras.probe.until(lambda: all(5 in cameras.answers(name) for name in CAMERAS), "an answer for each camera")
    for name, pixels in pictures.items():
        message = cameras.answers(name)[5]
        np.testing.assert_array_equal(pixels_of(message), expected_panoptic(pixels))
        assert message.header.frame_id == FRAME_ID
    assert {pixels_of(cameras.answers(name)[5])[0, 0] >> 8 for name in CAMERAS} == {CAR, ROAD}
    cameras.probe.until(lambda: all(cameras.stats.values()) and len(cameras.probe.stats) == 3, "stats of all")
    for stats in cameras.stats.values():
        assert (stats[-1].received, stats[-1].processed, stats[-1].dropped) == (1, 1, 0)
    assert cameras.probe.stats[-1].processed == 3, "~/stats tells of all cameras together"
    # All three pictures wait while the first of them is in work, if they do not arrive in one go.
    passes = {round(s[-1].latency_ms - s[-1].queue_ms, 3) for s in cameras.stats.values()}
    assert max(passes) < 1e3 * 2 * DELAY_S, "a pass takes one delay for all its pictures"
    for stats in cameras.stats.values():
        s = stats[-1]
        stages = s.queue_ms + s.preprocess_ms + s.inference_ms + s.postprocess_ms + s.publish_ms
        assert stages == pytest.approx(s.latency_ms, abs=1.0)
    probe = cameras.probe
    probe.until(lambda: probe.diagnostics, "diagnostics")
    assert [status.name for status in probe.diagnostics[-1].status] == [f"yoso: {name}" for name in CAMERAS]


def test_no_camera_starves_beside_fast_ones(cameras):
    """Two cameras at 50 Hz, one at 2 Hz, and a network for 7 passes a second: the slow camera loses nothing."""
    probe, slow, second = cameras.probe, [], 0
    started = time.monotonic()
    next_slow = started
    while time.monotonic() < started + 3.0:
        second += 1
        cameras.send("front", RED, second)
        cameras.send("rear", GREEN, second)
        if time.monotonic() >= next_slow:
            next_slow += 0.5
            slow.append(second)
            cameras.send("left", RED, second)
        probe.spin(0.02)
    seconds = time.monotonic() - started
    probe.until(lambda: slow[-1] in cameras.answers("left"), "the last picture of the slow camera")
    probe.until(lambda: second in cameras.answers("front") and second in cameras.answers("rear"), "the last pictures")
    assert sorted(cameras.answers("left")) == slow
    fast = [len(cameras.answers(name)) for name in ("front", "rear")]
    assert abs(fast[0] - fast[1]) <= 2, "equal cameras are served equally"
    assert min(fast) >= 0.4 * seconds / DELAY_S, "a pass serves all cameras, so none slows the others"
    for name in ("front", "rear"):
        probe.until(lambda name=name: cameras.stats[name][-1].processed == len(cameras.answers(name)), "stats")
        stats = cameras.stats[name][-1]
        assert stats.dropped == stats.received - stats.processed > 0 and stats.failed == 0
        age = max(s.latency_ms for s in cameras.stats[name])
        assert age < 2e3, "the last ones of a queue would be older: 150 frames, of which 20 are processed meanwhile"


def test_a_bad_picture_of_one_camera_does_not_stop_the_others(cameras):
    poisoned = np.full((12, 16, 3), POISON_RED, np.uint8)
    cameras.send("left", RED, 1)
    cameras.probe.spin(DELAY_S / 3)  # while this one is in work the next three wait and become one batch
    cameras.send("front", poisoned, 2)
    cameras.send("rear", GREEN, 2)
    cameras.publishers["left"].publish(cameras.probe.message(RED, 2, encoding="no_such_encoding"))
    cameras.probe.until(lambda: 2 in cameras.answers("rear"), "the good picture")
    np.testing.assert_array_equal(pixels_of(cameras.answers("rear")[2]), expected_panoptic(GREEN))
    cameras.probe.until(lambda: all(cameras.stats.values()), "stats of every camera")
    cameras.probe.until(lambda: cameras.stats["left"][-1].failed == 1, "the failure of the other bad picture")
    failed = {name: cameras.stats[name][-1].failed for name in CAMERAS}
    assert failed == {"front": 1, "rear": 0, "left": 1}
    assert not cameras.answers("front") and list(cameras.answers("left")) == [1]
