# SPDX-License-Identifier: Apache-2.0
"""Our messages without ROS are those of the compiled package: same hash, same bytes."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from yoso_ros.bags.frames import CameraInfo, CompressedImage, RawImage
from yoso_ros.bags.message_types import (
    camera_info_message,
    header,
    label_message,
    picture_message,
    segments_message,
    typestore,
)
from yoso_ros.results import Segment

HEAD = header(7 * 10**9 + 11, "camera_optical")
SEGMENTS = [Segment(769, 3, "wagon", True, 1, 0.25, 5, (1, 2, 3, 4), (2.5, 3.25))] * 2
INFO = CameraInfo(4, 6, "plumb_bob", (0.5,) * 5, tuple(range(9)), tuple(range(9)), tuple(range(12)))
MESSAGES = [
    segments_message(SEGMENTS, 4, 6, HEAD),
    label_message(np.arange(24, dtype=np.uint16).reshape(4, 6) * 999, HEAD),
    picture_message(RawImage(2, 2, "bgr8", 0, 8, np.arange(16, dtype=np.uint8)), HEAD),
    picture_message(CompressedImage("jpeg", np.arange(5, dtype=np.uint8)), HEAD),
    camera_info_message(INFO, HEAD),
]


@pytest.mark.parametrize("name", ["PanopticSegment", "PanopticSegmentArray", "InferenceStats"])
def test_hash_is_that_of_the_compiled_messages(name):
    compiled = Path(sys.prefix) / f"share/yoso_ros/msg/{name}.json"
    if not compiled.is_file():
        pytest.skip(f"needs the compiled messages: no {compiled}")
    hashes = {e["type_name"]: e["hash_string"] for e in json.loads(compiled.read_text())["type_hashes"]}
    assert typestore().hash_rihs01(f"yoso_ros/msg/{name}") == hashes[f"yoso_ros/msg/{name}"]


def plain(value):
    """A message of rosbags or rclpy as dicts, lists and numbers."""
    if hasattr(value, "get_fields_and_field_types"):
        return {name: plain(getattr(value, name)) for name in value.get_fields_and_field_types()}
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if field.name.islower() and field.name[0] != "_"]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, str | int | float | np.number):
        return value
    return [plain(item) for item in value]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: m.__msgtype__.rpartition("/")[2])
def test_bytes_are_read_and_written_alike_by_ros(message):
    serialization = pytest.importorskip("rclpy.serialization")
    pytest.importorskip("yoso_ros.msg")
    import sensor_msgs.msg

    import yoso_ros.msg

    name = message.__msgtype__.rpartition("/")[2]
    kind = getattr(yoso_ros.msg, name, None) or getattr(sensor_msgs.msg, name)
    data = bytes(typestore().serialize_cdr(message, message.__msgtype__))
    by_ros = serialization.deserialize_message(data, kind)
    assert plain(by_ros) == plain(message)
    back = typestore().deserialize_cdr(serialization.serialize_message(by_ros), message.__msgtype__)
    assert plain(back) == plain(message)
