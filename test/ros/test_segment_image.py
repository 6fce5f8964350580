# SPDX-License-Identifier: Apache-2.0
"""The service ~/segment_image over DDS: beside a camera, without one, with bad images, on an inactive node."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("yoso_ros.srv", reason="needs the compiled messages")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from node_probe import Probe, pixels_of
from node_with_test_segmenter import CAR, POISON_RED, ROAD, expected_panoptic

from yoso_ros.srv import SegmentImage

pytestmark = pytest.mark.ros
NODE = Path(__file__).with_name("node_with_test_segmenter.py")
PICTURE = np.zeros((6, 10, 3), np.uint8)
PICTURE[:4, :5] = (255, 0, 0)
PICTURE[4:] = (0, 255, 0)


@pytest.fixture
def probe(ros_domain, start_process):
    start_process([sys.executable, NODE, "--ros-args", "-r", "image_raw:=/cam/image_raw"])
    probe = Probe()
    probe.connect()
    yield probe
    probe.close()


def ask(probe, image):
    return probe.call(SegmentImage, "segment_image", SegmentImage.Request(image=image))


def test_an_image_beside_the_camera_and_while_disabled(probe):
    blue = np.full((8, 8, 3), (0, 0, 255), np.uint8)
    for second, enabled in ((1, True), (2, False)):
        if enabled:
            probe.images.publish(probe.message(blue, 50))
        else:
            assert probe.set_parameter("enable", False).successful
        request = probe.message(PICTURE[..., ::-1], second, "bgr8")
        response = ask(probe, request)
        assert response.success and not response.message
        assert response.panoptic.header == response.segments.header == request.header
        assert (pixels_of(response.panoptic) == expected_panoptic(PICTURE)).all()
        # By area, largest first; 20 pixels each, so by id.
        assert sorted(s.class_id for s in response.segments.segments) == [ROAD, CAR]
        assert (response.segments.height, response.segments.width) == (6, 10)
    assert (pixels_of(probe.answers(50)["panoptic/image_raw"]) == 65535).all(), "the camera's frame was not disturbed"
    stats = probe.stats[-1]
    assert (stats.received, stats.processed) == (1, 1), "requests are no frames of a camera"
    assert not {1, 2} & probe.received["panoptic/image_raw"].keys(), "answers are not published"


def test_bad_images_and_an_inactive_node_are_named(probe):
    unknown = ask(probe, probe.message(PICTURE, 1, "hsv8"))
    assert not unknown.success and "hsv8" in unknown.message and not unknown.segments.segments
    poisoned = PICTURE.copy()
    poisoned[0, 0, 0] = POISON_RED
    assert "poisoned frame 42" in ask(probe, probe.message(poisoned, 2)).message
    assert ask(probe, probe.message(PICTURE, 3)).success
    change = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
    assert probe.call(ChangeState, "change_state", change).success
    inactive = ask(probe, probe.message(PICTURE, 4))
    assert not inactive.success and inactive.message == "the node is not active; activate it first"
    change.transition.id = Transition.TRANSITION_ACTIVATE
    assert probe.call(ChangeState, "change_state", change).success
    assert ask(probe, probe.message(PICTURE, 5)).success
