# SPDX-License-Identifier: Apache-2.0
"""The stages of the node side by side, over DDS: order, counts, faults of each stage, deactivation in the middle."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from node_probe import Probe, pixels_of
from node_with_test_segmenter import POISON_OF_STAGE, expected_panoptic

pytestmark = pytest.mark.ros
NODE = Path(__file__).with_name("node_with_test_segmenter.py")
DELAY_S = 0.05  # of each stage
FRAMES = 40


@pytest.fixture
def probe(ros_domain, start_process):
    delays = dict.fromkeys(("YOSO_TEST_DELAY_S", "YOSO_TEST_SIDE_DELAY_S"), str(DELAY_S))
    start_process([sys.executable, NODE, "--ros-args", "-r", "image_raw:=/cam/image_raw"], environment=delays)
    probe = Probe()
    probe.connect()
    yield probe
    probe.close()


def picture(second, poison=0):
    """One green column for each second, so that every answer tells its frame."""
    pixels = np.zeros((4, 2 * FRAMES, 3), np.uint8)
    pixels[:, 1 : second + 1, 1] = 255
    pixels[0, 0, 0] = poison
    return pixels


def send(probe, seconds):
    for second in seconds:
        probe.images.publish(probe.message(picture(second), second))
        probe.spin(0.4 * DELAY_S)


def all_accounted_for(stats):
    return stats.received == stats.processed + stats.dropped + stats.failed


def test_order_counts_and_times_of_a_fast_camera_and_a_deactivation_in_the_middle(probe):
    send(probe, range(1, FRAMES))
    change = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
    assert probe.call(ChangeState, "change_state", change).success
    answered = list(probe.received["panoptic/image_raw"])
    change.transition.id = Transition.TRANSITION_ACTIVATE
    assert probe.call(ChangeState, "change_state", change).success
    assert answered == sorted(answered) and len(answered) > 3
    probe.until(lambda: probe.images.get_subscription_count() > 0, "the node reads images again")
    probe.spin(0.3)
    probe.images.publish(probe.message(picture(FRAMES), FRAMES))
    probe.answers(FRAMES)
    probe.until(lambda: probe.stats[-1].header.stamp.sec == FRAMES, "stats of the last frame")
    for second, message in probe.received["panoptic/image_raw"].items():
        np.testing.assert_array_equal(pixels_of(message), expected_panoptic(picture(second)))
    assert len(probe.received["panoptic/image_raw"]) == probe.stats[-1].processed
    assert probe.stats[-1].dropped > 0 and all_accounted_for(probe.stats[-1])
    for stats in probe.stats:
        parts = (stats.queue_ms, stats.preprocess_ms, stats.inference_ms, stats.postprocess_ms, stats.publish_ms)
        assert sum(parts) == pytest.approx(stats.latency_ms, abs=0.1) and min(parts) >= -1e-3
        assert stats.postprocess_ms >= 1e3 * DELAY_S <= stats.inference_ms


def test_a_fault_in_any_stage_is_that_of_its_frame_alone(probe):
    for number, poison in enumerate(POISON_OF_STAGE.values()):
        first = 3 * number + 1
        for second, value in ((first, 0), (first + 1, poison)):
            probe.images.publish(probe.message(picture(second, value), second))
            probe.spin(1.4 * DELAY_S)  # the one before is in a later stage by then
        failed = number + 1
        probe.until(lambda failed=failed: probe.stats and probe.stats[-1].failed == failed, f"{failed} failed frames")
        probe.images.publish(probe.message(picture(first + 2), first + 2))
        probe.answers(first + 2)
        probe.until(lambda: all_accounted_for(probe.stats[-1]), "the end of all frames so far")
        assert probe.stats[-1].failed == failed
        assert first + 1 not in probe.received["panoptic/image_raw"]
