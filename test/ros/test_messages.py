# SPDX-License-Identifier: Apache-2.0
"""The generated messages over FastDDS between two processes: every field arrives as it was sent."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.ros

LISTENER = Path(__file__).with_name("listen_once.py")
SEGMENTS = 100
UINT16, UINT32 = 2**16 - 1, 2**32 - 1
HEADER = {"stamp": {"sec": 2**31 - 1, "nanosec": 999_999_999}, "frame_id": "camera_front_optical"}


def float32(value):
    """The float that float32 holds, so that what arrives can be compared with ==."""
    return float(np.float32(value))


def random_segments(rng):
    """Plain dicts with all fields of a PanopticSegment; the first one holds the largest number of each type."""
    segments = []
    for index in range(SEGMENTS):

        def draw(largest, first=index == 0):
            return largest if first else int(rng.integers(largest, endpoint=True))

        roi = {name: draw(UINT32) for name in ("x_offset", "y_offset", "height", "width")}
        segments.append(
            {
                "id": draw(UINT16),
                "class_id": draw(UINT16),
                "class_name": "straße 道" * (index % 7),
                "is_thing": index % 2 == 0,
                "instance_id": draw(UINT16),
                "track_id": draw(UINT32),
                "score": float32(rng.uniform()),
                "area": draw(UINT32),
                "roi": {**roi, "do_rectify": index % 3 == 0},
                "centroid": {"x": float32(rng.uniform(0, 4096)), "y": float32(rng.uniform(0, 4096)), "z": 0.0},
            }
        )
    return segments


def test_segment_array_between_two_processes(ros_domain, start_process, tmp_path):
    import rclpy
    from builtin_interfaces.msg import Time
    from geometry_msgs.msg import Point32
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import RegionOfInterest
    from std_msgs.msg import Header

    from yoso_ros.msg import PanopticSegment, PanopticSegmentArray

    segments = random_segments(np.random.default_rng(0))
    message = PanopticSegmentArray(
        header=Header(stamp=Time(**HEADER["stamp"]), frame_id=HEADER["frame_id"]),
        height=1080,
        width=1920,
        segments=[
            PanopticSegment(**{**s, "roi": RegionOfInterest(**s["roi"]), "centroid": Point32(**s["centroid"])})
            for s in segments
        ],
    )
    received = tmp_path / "received.json"
    listener = start_process([sys.executable, LISTENER, "segments", "yoso_ros/msg/PanopticSegmentArray", received])

    rclpy.init(domain_id=ros_domain)
    try:
        assert rclpy.get_rmw_implementation_identifier() == "rmw_fastrtps_cpp"
        node = rclpy.create_node("sender")
        publisher = node.create_publisher(PanopticSegmentArray, "segments", QoSProfile(depth=1))
        while listener.returncode is None:  # ends itself at its limit
            publisher.publish(message)
            time.sleep(0.1)
    finally:
        rclpy.shutdown()

    assert listener.wait() == 0, listener.output()
    assert json.loads(received.read_text()) == {"header": HEADER, "height": 1080, "width": 1920, "segments": segments}


@pytest.mark.parametrize(
    ("name", "fields"),
    {
        "PanopticSegment": {
            "id": "uint16",
            "class_id": "uint16",
            "class_name": "string",
            "is_thing": "boolean",
            "instance_id": "uint16",
            "track_id": "uint32",
            "score": "float",
            "area": "uint32",
            "roi": "sensor_msgs/RegionOfInterest",
            "centroid": "geometry_msgs/Point32",
        },
        "PanopticSegmentArray": {
            "header": "std_msgs/Header",
            "height": "uint32",
            "width": "uint32",
            "segments": "sequence<yoso_ros/PanopticSegment>",
        },
        "InferenceStats": {
            "header": "std_msgs/Header",
            **dict.fromkeys(("received", "processed", "dropped", "failed"), "uint64"),
            **dict.fromkeys(
                ("queue_ms", "preprocess_ms", "inference_ms", "postprocess_ms", "publish_ms", "age_ms", "latency_ms"),
                "float",
            ),
            "backend": "string",
        },
    }.items(),
)
def test_fields_and_their_order(name, fields):
    """Recordings depend on names, types and order; a change here breaks the bags of users."""
    messages = pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")
    assert list(getattr(messages, name).get_fields_and_field_types().items()) == list(fields.items())


def test_constants_are_the_id_rule():
    messages = pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")
    from yoso_ros.results import UNLABELLED_ID

    assert messages.PanopticSegment.UNLABELLED_ID == UNLABELLED_ID
    assert messages.PanopticSegment.STUFF_INSTANCE == 0
    assert messages.PanopticSegment.UNTRACKED == 0
