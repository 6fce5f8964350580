# SPDX-License-Identifier: Apache-2.0
"""Results to messages without DDS: contents, the checked mode of the message classes, and the time it takes."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
from call_count import count_calls
from patience import PATIENCE_S

from yoso_ros.label_sets import load_label_set
from yoso_ros.results import PanopticResult, Segment

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")

from std_msgs.msg import Header

from yoso_ros.images.label_runs import decode_runs
from yoso_ros.ros.messages import (
    image_message,
    instance_image,
    mask_of_classes,
    runs_message,
    segments_message,
    stats_message,
)
from yoso_ros.ros.vision import detections_message, label_info_message, vision_messages_installed
from yoso_ros.ros.worker import Counts

HEADER = Header(frame_id="camera_optical")
HEADER.stamp.sec, HEADER.stamp.nanosec = 5, 6
RANDOM = np.random.default_rng(0)
needs_vision_msgs = pytest.mark.skipif(not vision_messages_installed(), reason="needs the package vision_msgs")


def a_result():
    panoptic = np.full((4, 6), 3 << 8, np.uint16)
    panoptic[1:3, 2:5] = 8 << 8 | 1
    segments = [
        Segment(3 << 8, 3, "road", False, 0, np.float32(0.5), np.int64(18), (0, 0, 6, 4), (2.5, 1.5)),
        Segment(8 << 8 | 1, 8, "car", True, 1, 0.75, 6, (2, 1, 3, 2), (3.0, 1.5)),
    ]
    return PanopticResult(panoptic, (panoptic >> 8).astype(np.uint8), np.full((4, 6), 9, np.uint8), segments)


@pytest.mark.parametrize(
    ("pixels", "encoding", "row_bytes"),
    [
        (RANDOM.integers(0, 65536, (5, 7), np.uint16), "mono16", 14),
        (RANDOM.integers(0, 256, (5, 7), np.uint8), "mono8", 7),
        (RANDOM.integers(0, 256, (5, 7, 3), np.uint8), "rgb8", 21),
        (RANDOM.integers(0, 256, (5, 20, 3), np.uint8)[:, ::2], "rgb8", 30),
    ],
)
def test_image_message(pixels, encoding, row_bytes):
    message = image_message(pixels, HEADER)
    assert (message.encoding, message.step, message.height, message.width) == (encoding, row_bytes, *pixels.shape[:2])
    assert message.header == HEADER and message.is_bigendian == (sys.byteorder == "big")
    assert message.data.tobytes() == pixels.tobytes()


@pytest.mark.skipif(os.environ.get("ROS_PYTHON_CHECK_FIELDS") == "1", reason="the checked mode looks at each element")
def test_filling_a_large_image_is_no_loop():
    large, small = np.zeros((1080, 1920, 3), np.uint8), np.zeros((2, 3, 3), np.uint8)
    assert count_calls(lambda: image_message(large, HEADER)) == count_calls(lambda: image_message(small, HEADER))


def test_segments_message():
    message = segments_message(a_result(), HEADER)
    assert (message.header, message.height, message.width) == (HEADER, 4, 6)
    road, car = message.segments
    assert (road.id, road.class_id, road.class_name, road.is_thing, road.instance_id) == (768, 3, "road", False, 0)
    assert (car.id, car.class_id, car.class_name, car.is_thing, car.instance_id) == (2049, 8, "car", True, 1)
    assert (car.score, car.area, car.track_id) == (0.75, 6, 0)
    assert (car.roi.x_offset, car.roi.y_offset, car.roi.width, car.roi.height) == (2, 1, 3, 2)
    assert (car.centroid.x, car.centroid.y, car.centroid.z) == (3.0, 1.5, 0.0)


def test_stats_message_leaves_unknown_times_nan():
    message = stats_message(HEADER, Counts(4, 1, 2, 1), {"queue_ms": 2.5}, "torch-cpu-fp32")
    assert (message.received, message.processed, message.dropped, message.failed) == (4, 1, 2, 1)
    assert message.queue_ms == 2.5 and np.isnan(message.latency_ms) and message.backend == "torch-cpu-fp32"


def test_instance_image_has_track_ids_of_things_and_nothing_else():
    result = a_result()
    assert np.array_equal(instance_image(result), np.where(result.panoptic == 2049, 2049, 0)), "its id without tracking"
    result.segments[1] = dataclasses.replace(result.segments[1], track_id=70_000)
    message = image_message(instance_image(result), HEADER)
    assert (message.encoding, message.step) == ("32SC1", 24)
    found = np.frombuffer(message.data, np.int32).reshape(4, 6)
    np.testing.assert_array_equal(found, np.where(result.panoptic == 2049, 70_000, 0))


def test_runs_message():
    message = runs_message(a_result().panoptic, HEADER)
    assert message.header == HEADER and message.format == "mono16; run lengths, zlib"
    np.testing.assert_array_equal(decode_runs(message.data), a_result().panoptic)


def test_mask_of_classes_against_isin():
    semantic = RANDOM.integers(0, 256, (30, 40), np.uint8)
    for classes in ([], [3], [0, 8, 10]):
        expected = np.where(np.isin(semantic, classes), 255, 0)
        np.testing.assert_array_equal(mask_of_classes(semantic, classes), expected)


@pytest.mark.skipif(os.environ.get("ROS_PYTHON_CHECK_FIELDS") == "1", reason="is the checked mode itself")
def test_everything_above_holds_in_the_checked_mode_of_the_message_classes():
    environment = {**os.environ, "ROS_PYTHON_CHECK_FIELDS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout


@needs_vision_msgs
def test_label_info_and_detections():
    labels = load_label_set("camvid")
    info = label_info_message(labels, HEADER.stamp, 0.25)
    assert [(c.class_id, c.class_name) for c in info.class_map] == [(i, c.name) for i, c in enumerate(labels.classes)]
    assert info.threshold == 0.25
    message = detections_message(a_result(), HEADER)
    (car,) = message.detections
    assert message.header == car.header == HEADER and car.id == ""
    assert (car.results[0].hypothesis.class_id, car.results[0].hypothesis.score) == ("8", 0.75)
    box = car.bbox
    assert (box.center.position.x, box.center.position.y, box.size_x, box.size_y) == (3.5, 2.0, 3.0, 2.0)
