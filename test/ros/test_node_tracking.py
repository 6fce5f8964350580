# SPDX-License-Identifier: Apache-2.0
"""Track ids of the running node: stable over frames and messages, and 0 while tracking is off."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")

from node_probe import Probe
from node_with_test_segmenter import CAR, ROAD

from yoso_ros.tracking import FIRST_THING_TRACK, stuff_track

pytestmark = pytest.mark.ros
NODE = Path(__file__).with_name("node_with_test_segmenter.py")


@pytest.fixture
def probe(ros_domain, start_process):
    start_process([sys.executable, NODE, "--ros-args", "-r", "image_raw:=/cam/image_raw"])
    probe = Probe()
    probe.connect()
    yield probe
    probe.close()


def test_track_ids_over_frames(probe):
    def tracks_at(second, car_at):
        pixels = np.full((32, 48, 3), (0, 255, 0), np.uint8)
        pixels[8:20, car_at : car_at + 12] = (255, 0, 0)
        probe.images.publish(probe.message(pixels, second))
        return {s.class_id: s.track_id for s in probe.answers(second)["panoptic/segments"].segments}

    first = tracks_at(11, 4)
    assert first == {ROAD: stuff_track(ROAD), CAR: FIRST_THING_TRACK}
    assert tracks_at(12, 8) == first
    assert probe.set_parameter("tracking", False).successful
    assert tracks_at(13, 8) == {ROAD: 0, CAR: 0}
    assert probe.set_parameter("tracking", True).successful
    assert tracks_at(14, 12) == first, "the pause was short"
    assert tracks_at(5, 12) == first | {CAR: FIRST_THING_TRACK + 1}, "stamps that go back are another recording"
