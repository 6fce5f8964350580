# SPDX-License-Identifier: Apache-2.0
"""Results to ROS messages. Every message carries the header of the input frame, unchanged."""

import array
import sys

import numpy as np
from geometry_msgs.msg import Point32
from sensor_msgs.msg import CompressedImage, Image, RegionOfInterest

from yoso_ros.images.label_runs import FORMAT, encode_runs
from yoso_ros.msg import InferenceStats, PanopticSegment, PanopticSegmentArray

# Encoding of an output image by dtype and number of dimensions: ids, classes and masks, colours, instances.
ENCODINGS = {
    (np.dtype(np.uint16), 2): "mono16",
    (np.dtype(np.uint8), 2): "mono8",
    (np.dtype(np.uint8), 3): "rgb8",
    (np.dtype(np.int32), 2): "32SC1",
}


def image_message(pixels, header):
    """An image.

    Args:
        pixels: uint16 (H, W) becomes mono16, uint8 (H, W) mono8, uint8 (H, W, 3) rgb8, int32 (H, W) 32SC1.
        header: std_msgs/Header of the input frame.

    Returns:
        sensor_msgs/Image without row padding, in the byte order of this machine; its data are the pixels themselves.
    """
    pixels = np.ascontiguousarray(pixels)
    message = Image(header=header, height=pixels.shape[0], width=pixels.shape[1], step=pixels.strides[0])
    message.encoding = ENCODINGS[pixels.dtype, pixels.ndim]
    message.is_bigendian = int(sys.byteorder == "big")
    # Bypasses the setter, which checks or copies anything but an array.array byte by byte, 100 ms for a frame. The
    # serialisation accepts any buffer, so the pixels need no copy: a tenth of the node's CPU time per frame.
    message._data = pixels.reshape(-1).view(np.uint8)
    return message


def segments_message(result, header):
    """The segments of a frame.

    Args:
        result: `yoso_ros.results.PanopticResult`.
        header: std_msgs/Header of the input frame.

    Returns:
        yoso_ros/PanopticSegmentArray, in the order of `result.segments`.
    """
    height, width = result.panoptic.shape
    message = PanopticSegmentArray(header=header, height=height, width=width)
    message.segments = [_segment_message(segment) for segment in result.segments]
    return message


def _segment_message(segment):
    x, y, width, height = (int(value) for value in segment.box_xywh)
    return PanopticSegment(
        id=int(segment.id),
        class_id=int(segment.class_id),
        class_name=segment.class_name,
        is_thing=bool(segment.is_thing),
        instance_id=int(segment.instance_id),
        track_id=int(segment.track_id),
        score=float(segment.score),
        area=int(segment.area),
        roi=RegionOfInterest(x_offset=x, y_offset=y, width=width, height=height),
        centroid=Point32(x=float(segment.centroid_xy[0]), y=float(segment.centroid_xy[1])),
    )


def stats_message(header, counts, times, backend):
    """Counters, and times of the frame just finished.

    Args:
        header: std_msgs/Header of the frame.
        counts: `yoso_ros.ros.worker.Counts` that include this frame.
        times: dict of float, milliseconds, with the names of the message's fields; missing ones are NaN.
        backend: engine, device and precision, such as "torch-cpu-fp32".

    Returns:
        yoso_ros/InferenceStats.
    """
    message = InferenceStats(header=header, backend=backend)
    message.received, message.processed = counts.received, counts.processed
    message.dropped, message.failed = counts.dropped, counts.failed
    for name, kind in InferenceStats.get_fields_and_field_types().items():
        if kind == "float":
            setattr(message, name, float(times.get(name, np.nan)))
    return message


def instance_image(result):
    """The things of a `PanopticResult`: int32 (H, W), the track id of the thing, or else its id; 0 elsewhere."""
    numbers = np.zeros(1 << 16, np.int32)
    for segment in result.segments:
        if segment.is_thing:
            numbers[segment.id] = segment.track_id or segment.id
    return numbers[result.panoptic]


def runs_message(panoptic, header):
    """sensor_msgs/CompressedImage of a panoptic image in the form of `yoso_ros.images.label_runs`."""
    message = CompressedImage(header=header, format=FORMAT)
    message.data = array.array("B", encode_runs(panoptic))
    return message


def mask_of_classes(semantic, class_ids):
    """Pixels of some classes: uint8 (H, W), 255 where `semantic` (uint8 class ids) is one of `class_ids`, else 0."""
    chosen = np.zeros(256, np.uint8)
    chosen[list(class_ids)] = 255
    return chosen[semantic]
