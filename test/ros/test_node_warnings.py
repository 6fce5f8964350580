# SPDX-License-Identifier: Apache-2.0
"""What the node warns of, over DDS: silence, publishers that it cannot hear, odd stamps; each cause once in the log."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")

from diagnostic_msgs.msg import DiagnosticStatus
from node_probe import QOS, Probe
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image

pytestmark = pytest.mark.ros
NODE = Path(__file__).with_name("node_with_test_segmenter.py")
RED = np.full((8, 8, 3), (255, 0, 0), np.uint8)
SAID_ONCE = "(reported once"


@pytest.fixture
def start(ros_domain, start_process):
    probes = []

    def start(*ros_arguments, connect=True, **options):
        arguments = ["--ros-args", "-r", "image_raw:=/cam/image_raw", *ros_arguments]
        node = start_process([sys.executable, NODE, *arguments], limit_s=45)
        probes.append(Probe(**options))
        if connect:
            probes[-1].connect()
        return node, probes[-1]

    yield start
    for probe in probes:
        probe.close()


def await_status(probe, level, text, after=0):
    """Wait for a status with this level and text in its message among those since `after`; returns it."""

    def found():
        statuses = [array.status[0] for array in probe.diagnostics[after:]]
        return next((s for s in statuses if s.level == level and text in s.message), None)

    said = [array.status[0].message for array in probe.diagnostics]
    probe.until(lambda: found() is not None, f"{text!r} in the diagnostics, found {said}", 15.0)
    return found()


def test_silence_is_told_with_its_reason_and_ends(start):
    node, probe = start(connect=False, image_topic="/elsewhere/image_raw")
    await_status(probe, DiagnosticStatus.WARN, "nobody publishes /cam/image_raw")
    images = probe.node.create_publisher(Image, "/cam/image_raw", QOS)
    probe.until(lambda: images.get_subscription_count(), "the node reads the images")
    await_status(probe, DiagnosticStatus.WARN, "no images arrive", after=len(probe.diagnostics))
    for _ in range(6):
        message = probe.message(RED, 0)
        message.header.stamp = probe.node.get_clock().now().to_msg()
        images.publish(message)
        probe.spin(0.3)
    await_status(probe, DiagnosticStatus.OK, "running", after=len(probe.diagnostics) - 1)
    assert node.output().count("nobody publishes /cam/image_raw") == 1
    assert node.output().count("no images arrive on /cam/image_raw") == 1


def test_publishers_that_cannot_be_heard_are_named(start):
    node, probe = start("-p", "input_reliability:=reliable", connect=False, image_topic="/elsewhere/image_raw")
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    images = probe.node.create_publisher(Image, "/cam/image_raw", best_effort)
    # A publisher is heard of before its name, and named as soon as that is known.
    status = await_status(probe, DiagnosticStatus.WARN, "/probe publishes /cam/image_raw with an incompatible QoS")
    assert "Best effort" in status.message
    assert "input_reliability" in status.message
    probe.node.destroy_publisher(images)
    gone = "nobody publishes /cam/image_raw any more, /probe is gone"
    await_status(probe, DiagnosticStatus.WARN, gone, after=len(probe.diagnostics))
    images = probe.node.create_publisher(CompressedImage, "/cam/image_raw", QOS)
    status = await_status(
        probe, DiagnosticStatus.WARN, "/probe publishes /cam/image_raw as", after=len(probe.diagnostics)
    )
    assert "CompressedImage" in status.message
    assert "expected sensor_msgs/msg/Image" in status.message
    assert node.output().count("Best effort publisher") == 1
    assert node.output().count(SAID_ONCE) == 3


def test_odd_stamps_are_told_and_the_frames_work(start):
    node, probe = start()
    for second in (5, 6, 3, 4, 2, 1):  # far from the clock all of them, and back twice
        probe.images.publish(probe.message(RED, second))
        probe.answers(second)
    status = await_status(probe, DiagnosticStatus.WARN, "went back by 1.000 s")
    assert "behind this machine's clock" in status.message
    assert node.output().count("went back") == 1 and node.output().count("behind this machine's clock") == 1


def test_stamps_of_a_simulated_clock_are_right(start):
    node, probe = start("-p", "use_sim_time:=true")
    clock = probe.node.create_publisher(Clock, "/clock", QOS)
    probe.images.publish(probe.message(RED, 1))
    probe.answers(1)
    await_status(probe, DiagnosticStatus.WARN, "nothing has arrived on /clock")
    for second in range(2, 8):
        message = Clock()
        message.clock.sec = second
        clock.publish(message)
        probe.spin(0.2)
        probe.images.publish(probe.message(RED, second))
        probe.answers(second)
    await_status(probe, DiagnosticStatus.OK, "running", after=len(probe.diagnostics))
    assert all(np.isnan(stats.age_ms) for stats in probe.stats), "a simulated clock does not measure latency"
    assert node.output().count("nothing has arrived on /clock") == 1
