# SPDX-License-Identifier: Apache-2.0
"""Panoptic labels in recordings, published by the node or as ground truth: a label image and its segments.

Legend: `H W` size of a label image in pixels. A prefix such as /yoso/panoptic stands for the pair of topics
PREFIX/image_raw (mono16, the id rule) and PREFIX/segments.
"""

from dataclasses import dataclass

import numpy as np

from yoso_ros.bags.message_types import IMAGE, SEGMENTS
from yoso_ros.configuration import dataclass_from_mapping
from yoso_ros.errors import InputError, brief
from yoso_ros.label_sets import LabelSet
from yoso_ros.reading import parse_json, path_inside
from yoso_ros.results import UNLABELLED_ID, Segment
from yoso_ros.stamps import message_stamp_ns

LABEL_SET_KEY, NAMES_KEY = "yoso_ros.label_set", "yoso_ros.images"  # in the custom data of a recording
TRUTH_PREFIX = "/ground_truth/panoptic"
WAITING = 64  # label images and segments that may wait for their counterpart; beyond that, the oldest is dropped


@dataclass(frozen=True, slots=True)
class LabelFrame:
    """The labels of one frame.

    Attributes:
        stamp_ns: nanoseconds.
        panoptic: uint16 (H, W), by the id rule; 65535 = unlabelled.
        segments: list of `Segment`. In ground truth a thing with instance 0 is a crowd: a group of unseparated things.
    """

    stamp_ns: int
    panoptic: np.ndarray
    segments: list[Segment]


def label_prefixes(topics):
    """Prefixes of panoptic labels among the topics of a `Bag`: list of str."""
    prefixes = [name.removesuffix("/segments") for name, topic in topics.items() if topic.type == SEGMENTS]
    return [p for p in prefixes if f"{p}/image_raw" in topics and topics[f"{p}/image_raw"].type == IMAGE]


def is_node_output(topic, topics):
    """Whether a topic shares a namespace with panoptic labels, so that its images come from a node, not a camera."""
    for prefix in label_prefixes(topics):
        namespace = prefix.rpartition("/")[0] or prefix
        if topic.startswith(f"{namespace}/"):
            return True
    return False


class Labels:
    """The labels under one prefix of a `Bag`; each iteration starts from the beginning.

    Attributes:
        unpaired: after an iteration, number of label images and segments without a counterpart of the same stamp.
    """

    def __init__(self, bag, prefix):
        if prefix not in label_prefixes(bag.topics):
            known = ", ".join(label_prefixes(bag.topics)) or "none"
            raise InputError(
                f"{bag.name}: expected {prefix}/image_raw and {prefix}/segments; panoptic topics in it: {known}"
            )
        self._bag, self._prefix, self.unpaired = bag, prefix, 0

    def __iter__(self):
        waiting, self.unpaired = {}, 0
        names = [f"{self._prefix}/image_raw", f"{self._prefix}/segments"]
        for topic, _, message in self._bag.messages(names):
            parts = waiting.setdefault(message_stamp_ns(message), {})
            parts[topic] = message
            if len(parts) == len(names):
                del waiting[message_stamp_ns(message)]
                yield self._frame(*(parts[name] for name in names))
            elif len(waiting) > WAITING:
                del waiting[next(iter(waiting))]
                self.unpaired += 1
        self.unpaired += len(waiting)

    def _frame(self, image, array):
        where = f"{self._bag.name}: {self._prefix} at {message_stamp_ns(image) / 1e9:.9f}"
        panoptic = _label_image(image, where)
        if panoptic.shape != (array.height, array.width):
            raise InputError(f"{where}: label image of {panoptic.shape}, segments of {(array.height, array.width)}")
        try:
            segments = [segment_from_message(message) for message in array.segments]
        except AttributeError as error:  # a file can define its own messages of this name
            raise InputError(f"{where}: expected yoso_ros/PanopticSegment, found other messages: {error}") from error
        present, listed = set(np.unique(panoptic).tolist()) - {UNLABELLED_ID}, {s.id for s in segments}
        if present != listed:
            raise InputError(
                f"{where}: the label image and its segments disagree on the ids {sorted(present ^ listed)[:5]}"
            )
        return LabelFrame(message_stamp_ns(image), panoptic, segments)


def label_set_of(bag):
    """The `LabelSet` stored in a recording that was made from a data set, or None."""
    text, where = bag.custom_data.get(LABEL_SET_KEY), f"{bag.name}: {LABEL_SET_KEY} in its metadata"
    if not text:
        return None
    content = parse_json(text, where)
    if not isinstance(content, dict):
        raise InputError(f"{where}: expected a label set, found {brief(content)}")
    return dataclass_from_mapping(LabelSet, content, where)


def names_of(bag):
    """Stamp in nanoseconds to (image id, file name): dict, empty unless the recording was made from a data set."""
    where = f"{bag.name}: {NAMES_KEY} in its metadata"
    names = {}
    for entry in _list(parse_json(bag.custom_data.get(NAMES_KEY, "[]"), where), where):
        stamp, image_id, name = entry if isinstance(entry, list) and len(entry) == 3 else (None, None, None)
        if not isinstance(stamp, int) or not isinstance(image_id, (int, str)):
            raise InputError(f"{where}: expected stamp, image id and file name, found {brief(entry)}")
        path_inside(bag.name, name, where)
        names[stamp] = image_id, name
    return names


def _list(content, where):
    if not isinstance(content, list):
        raise InputError(f"{where}: expected a list, found {brief(content)}")
    return content


def _label_image(message, where):
    row_bytes = 2 * message.width
    data = np.asarray(message.data)
    if message.encoding != "mono16" or message.step < row_bytes or data.size != message.height * message.step:
        raise InputError(
            f"{where}: expected a mono16 image, found {message.encoding} of {message.width}x{message.height} pixels "
            f"with step {message.step} and {data.size} bytes"
        )
    rows = np.ascontiguousarray(data.reshape(message.height, message.step)[:, :row_bytes])
    return rows.view(">u2" if message.is_bigendian else "<u2").astype(np.uint16)


def segment_from_message(message):
    """`Segment` of a yoso_ros/PanopticSegment, from rosbags or from rclpy: the fields have the same names."""
    roi, centroid = message.roi, message.centroid
    return Segment(
        message.id,
        message.class_id,
        message.class_name,
        message.is_thing,
        message.instance_id,
        message.score,
        message.area,
        (roi.x_offset, roi.y_offset, roi.width, roi.height),
        (centroid.x, centroid.y),
        message.track_id,
    )
