# SPDX-License-Identifier: Apache-2.0
"""ROS message types without ROS, those of Jazzy and our own from msg/, and messages built from the contents of bags."""

import functools

import numpy as np
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from yoso_ros.resources import share_path
from yoso_ros.stamps import seconds_and_nanoseconds

IMAGE, COMPRESSED, CAMERA_INFO = (f"sensor_msgs/msg/{n}" for n in ("Image", "CompressedImage", "CameraInfo"))
SEGMENTS = "yoso_ros/msg/PanopticSegmentArray"


@functools.cache
def typestore():
    """The rosbags type store with the types of ROS 2 Jazzy and of msg/; created once, must not be modified."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for path in sorted(share_path("msg").glob("*.msg")):
        store.register(get_types_from_msg(path.read_text(), f"yoso_ros/msg/{path.stem}"))
    return store


def _new(name, **fields):
    return typestore().types[name](**fields)


def header(stamp, frame_id):
    """std_msgs/Header with a stamp given in nanoseconds."""
    seconds, nanoseconds = seconds_and_nanoseconds(stamp)
    time = _new("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
    return _new("std_msgs/msg/Header", stamp=time, frame_id=frame_id)


def picture_message(image, head):
    """sensor_msgs/Image or CompressedImage from a `RawImage` or `CompressedImage`, with the bytes unchanged."""
    if hasattr(image, "format"):
        return _new(COMPRESSED, header=head, format=image.format, data=image.data)
    fields = {name: getattr(image, name) for name in ("height", "width", "encoding", "is_bigendian", "step", "data")}
    return _new(IMAGE, header=head, **fields)


def label_message(panoptic, head):
    """sensor_msgs/Image, mono16, from panoptic ids uint16 (H, W)."""
    height, width = panoptic.shape
    data = np.ascontiguousarray(panoptic, "<u2").view(np.uint8).reshape(-1)
    return _new(
        IMAGE, header=head, height=height, width=width, encoding="mono16", is_bigendian=0, step=2 * width, data=data
    )


def camera_info_message(info, head):
    """sensor_msgs/CameraInfo from a `CameraInfo`."""
    roi = _new(
        "sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
    )  # zeros mean the whole image
    matrices = {name: np.array(getattr(info, name), np.float64) for name in "dkrp"}
    size = {"height": info.height, "width": info.width, "binning_x": 0, "binning_y": 0}
    return _new(CAMERA_INFO, header=head, distortion_model=info.distortion_model, roi=roi, **size, **matrices)


def segments_message(segments, height, width, head):
    """yoso_ros/PanopticSegmentArray from a list of `yoso_ros.results.Segment`."""
    messages = []
    for s in segments:
        x, y, box_width, box_height = s.box_xywh
        messages.append(
            _new(
                "yoso_ros/msg/PanopticSegment",
                **{name: getattr(s, name) for name in ("id", "class_id", "class_name", "is_thing", "instance_id")},
                track_id=s.track_id,
                score=s.score,
                area=s.area,
                roi=_new(
                    "sensor_msgs/msg/RegionOfInterest",
                    x_offset=x,
                    y_offset=y,
                    height=box_height,
                    width=box_width,
                    do_rectify=False,
                ),
                centroid=_new("geometry_msgs/msg/Point32", x=s.centroid_xy[0], y=s.centroid_xy[1], z=0.0),
            )
        )
    return _new(SEGMENTS, header=head, height=height, width=width, segments=messages)
