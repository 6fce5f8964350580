# SPDX-License-Identifier: Apache-2.0
"""Frames from rosbag2 (and rosbag1) recordings, read with the rosbags library, without a ROS installation."""

import copy
import itertools
from bisect import bisect_left, bisect_right

import numpy as np

from yoso_ros.bags.bag import Bag
from yoso_ros.bags.frames import CameraInfo, CompressedImage, Frame, RawImage
from yoso_ros.bags.labels import is_node_output
from yoso_ros.bags.message_types import CAMERA_INFO, COMPRESSED, IMAGE
from yoso_ros.errors import InputError
from yoso_ros.stamps import message_stamp_ns

# Encodings of depth and label images, which camera images do not use.
NOT_A_PICTURE = ("16UC1", "16SC1", "32SC1", "32FC1", "64FC1", "16UC2", "32FC2", "32FC3")
APART_NS = 10**9  # maximum time between recording an image and its calibration
DEFAULT_RATE = 10.0  # frames/s for a recording with a single frame


class Recording:
    """The frames of one camera topic of a recording.

    Args:
        path: rosbag2 folder, or a single .mcap, .db3 or .bag file.
        topic: image topic; None takes the only camera topic.

    Attributes:
        name: the path; rate_hz: mean rate of the topic; topic: its name; bag: the `Bag`, which knows the losses;
        first: number of the first frame in the whole recording.

    Raises:
        InputError: nothing can be read, no camera topic, or several (the message lists them).
    """

    def __init__(self, path, topic=None):
        self.name, self.bag = str(path), Bag(path)
        self.topic = self._choose(topic)
        chosen = self.bag.topics[self.topic]
        self._is_raw, self._times_ns = chosen.type == IMAGE, chosen.times_ns
        self.first, self._end = 0, chosen.count
        self._info_topic = _camera_info_topic(self.bag.topics, self.topic)
        seconds = (chosen.last_ns - chosen.first_ns) / 1e9
        self.rate_hz = (chosen.count - 1) / seconds if seconds > 0 else DEFAULT_RATE

    def __len__(self):
        return self._end - self.first

    def index_at(self, seconds):
        """Number of the first frame recorded at least so long after the first one: int, `len()` for none."""
        return bisect_left(self._times_ns, self._times_ns[self.first] + round(1e9 * seconds), self.first) - self.first

    def part(self, start=0, stop=None):
        """The frames from `start` up to, not including, `stop` (None: the end): a `Recording` that reads only these."""
        chosen = range(self.first, self._end)[start:stop]
        part = copy.copy(self)
        part.first, part._end = chosen.start, max(chosen.start, chosen.stop)
        return part

    @property
    def losses(self):
        """See `open_source`."""
        return self.bag.losses

    @property
    def unchecked(self):
        """See `Bag`."""
        return self.bag.unchecked

    def __iter__(self):
        infos = self._camera_infos()
        # A calibration seldom changes, so without one of the same stamp the last one is used.
        info, last_stamp = next(iter(infos.values()), None), -1
        for _, recorded, message in self._messages():
            info = infos.get(message_stamp_ns(message), info)
            # Stamps identify frames; if they were left empty, the recording time serves instead.
            stamp = (
                message_stamp_ns(message) if message_stamp_ns(message) > last_stamp else max(recorded, last_stamp + 1)
            )
            last_stamp = stamp
            image = _raw_image(message) if self._is_raw else CompressedImage(message.format, message.data)
            yield Frame(stamp, message.header.frame_id, image, info)

    def _messages(self):
        if not len(self):
            return iter(())
        start = self._times_ns[self.first]
        found = self.bag.messages([self.topic], start, self._times_ns[self._end - 1] + 1)
        # Several messages may have the same recording time.
        skipped = self.first - bisect_left(self._times_ns, start)
        return itertools.islice(found, skipped, skipped + len(self))

    def _camera_infos(self):
        """Calibrations of the frames by stamp in nanoseconds; equal ones share one object."""
        infos, known = {}, {}
        if self._info_topic is None or not len(self):
            return infos
        times = self.bag.topics[self._info_topic].times_ns
        first, last = self._times_ns[self.first] - APART_NS, self._times_ns[self._end - 1] + APART_NS
        holds = times[max(0, bisect_right(times, first) - 1)]  # the last one before the first frame
        for _, _, message in self.bag.messages([self._info_topic], min(first, holds), last):
            info = _camera_info(message)
            infos[message_stamp_ns(message)] = known.setdefault(info, info)
        return infos

    def _choose(self, topic):
        images = [name for name, t in self.bag.topics.items() if t.type in (IMAGE, COMPRESSED)]
        if topic is not None:
            if topic in images:
                return topic
            raise InputError(
                f"{self.name}: no image topic {topic!r}; image topics in it: {', '.join(images) or 'none'}"
            )
        cameras = [name for name in images if self._is_picture(name)]
        # A camera recorded both raw and compressed is one camera; raw needs no decoding and is lossless.
        cameras = [c for c in cameras if not (c.endswith("/compressed") and c.removesuffix("/compressed") in cameras)]
        if len(cameras) == 1:
            return cameras[0]
        if not cameras:
            topics = ", ".join(f"{name} ({t.type})" for name, t in self.bag.topics.items()) or "none"
            lost = f"; lost: {'; '.join(self.bag.losses[:3])}" if self.bag.losses else ""
            raise InputError(f"{self.name}: expected a camera image topic; topics in it: {topics}{lost}")
        names = ", ".join(sorted(cameras))
        raise InputError(f"{self.name}: several camera topics, choose one with --topic: {names}")

    def _is_picture(self, topic):
        if is_node_output(topic, self.bag.topics):
            return False
        _, _, message = next(self.bag.messages([topic]), (None, None, None))
        if message is None:
            return False
        if self.bag.topics[topic].type == IMAGE:
            return message.encoding not in NOT_A_PICTURE
        return "compressedDepth" not in message.format and message.format.split(";")[0] not in NOT_A_PICTURE


def _camera_info_topic(topics, image_topic):
    """The camera_info next to the image topic, as in image_transport, else the only one there is, else None."""
    infos = [name for name, t in topics.items() if t.type == CAMERA_INFO]
    base = image_topic.removesuffix("/compressed").rpartition("/")[0]
    if f"{base}/camera_info" in infos:
        return f"{base}/camera_info"
    return infos[0] if len(infos) == 1 else None


def _raw_image(message):
    return RawImage(
        message.height, message.width, message.encoding, message.is_bigendian, message.step, np.asarray(message.data)
    )


def _camera_info(message):
    # ROS 1 names the matrices in capitals.
    fields = {name: name if hasattr(message, name) else name.upper() for name in "dkrp"}
    numbers = {name: tuple(float(v) for v in getattr(message, field)) for name, field in fields.items()}
    return CameraInfo(message.height, message.width, message.distortion_model, **numbers)
