# SPDX-License-Identifier: Apache-2.0
"""Frames from rosbag2 (and rosbag1) recordings, read by the rosbags library: no ROS installation is needed."""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from yoso_ros.bags.frames import CameraInfo, CompressedImage, Frame, RawImage
from yoso_ros.errors import InputError

IMAGE, COMPRESSED, CAMERA_INFO = (f"sensor_msgs/msg/{n}" for n in ("Image", "CompressedImage", "CameraInfo"))
# Encodings of depth and label images, which no camera picture has.
NOT_A_PICTURE = ("16UC1", "16SC1", "32SC1", "32FC1", "64FC1", "16UC2", "32FC2", "32FC3")
DEFAULT_RATE = 10.0  # frames/s of a recording with a single frame


class Recording:
    """The frames of one camera topic of a recording.

    Args:
        path: rosbag2 folder, or a single .mcap, .db3 or .bag file.
        topic: image topic; None takes the only camera topic there is.

    Attributes:
        name: the path; rate_hz: mean rate of the topic; topic: its name.

    Raises:
        InputError: damaged recording, no camera topic, or several (the message lists them).
    """

    def __init__(self, path, topic=None):
        self.name, self._path = str(path), Path(path)
        with self._reader() as reader:
            connection = self._choose(reader, topic)
            self.topic, self._is_raw = connection.topic, connection.msgtype == IMAGE
            self._info_topic = _camera_info_topic(reader, self.topic)
            stamps = [stamp for _, stamp, _ in reader.messages(_of_topic(reader, self.topic))]
        self._length = len(stamps)
        seconds = (max(stamps) - min(stamps)) / 1e9
        self.rate_hz = (len(stamps) - 1) / seconds if seconds > 0 else DEFAULT_RATE

    def __len__(self):
        return self._length

    def __iter__(self):
        with self._reader() as reader:
            infos = self._camera_infos(reader)
            # A calibration seldom changes: without one of the same stamp the last one holds.
            info, last_stamp = next(iter(infos.values()), None), -1
            for connection, recorded, data in reader.messages(_of_topic(reader, self.topic)):
                message = reader.deserialize(data, connection.msgtype)
                info = infos.get(_stamp_ns(message), info)
                # Frames are told apart by their stamps; a recorder that left them empty still has its own clock.
                stamp = _stamp_ns(message) if _stamp_ns(message) > last_stamp else max(recorded, last_stamp + 1)
                last_stamp = stamp
                image = _raw_image(message) if self._is_raw else CompressedImage(message.format, message.data)
                yield Frame(stamp, message.header.frame_id, image, info)

    def _camera_infos(self, reader):
        """Calibrations by their stamp in nanoseconds."""
        chosen = _of_topic(reader, self._info_topic)
        # An empty choice would mean all topics to the library.
        messages = [reader.deserialize(data, c.msgtype) for c, _, data in reader.messages(chosen)] if chosen else []
        return {_stamp_ns(message): _camera_info(message) for message in messages}

    @contextmanager
    def _reader(self):
        try:
            with AnyReader([self._path], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
                yield reader
        except InputError:
            raise
        except Exception as error:  # the library lets errors of SQLite, mcap, YAML and its asserts through
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"{self.name}: expected a rosbag2 recording; it cannot be read: {reason}") from error

    def _choose(self, reader, topic):
        images = [c for c in reader.connections if c.msgtype in (IMAGE, COMPRESSED) and c.msgcount]
        if topic is not None:
            for connection in images:
                if connection.topic == topic:
                    return connection
            known = ", ".join(c.topic for c in images) or "none"
            raise InputError(f"{self.name}: no image topic {topic!r}; image topics in it: {known}")
        cameras = [c for c in images if _is_picture(reader, c)]
        if len({c.topic for c in cameras}) == 1:
            return cameras[0]
        if not cameras:
            topics = ", ".join(f"{c.topic} ({c.msgtype})" for c in reader.connections) or "none"
            raise InputError(f"{self.name}: expected a camera image topic; topics in it: {topics}")
        names = ", ".join(sorted({c.topic for c in cameras}))
        raise InputError(f"{self.name}: several camera topics, choose one with --topic: {names}")


def _of_topic(reader, topic):
    """The connections of a topic; rosbag1 has one for each publisher."""
    return [c for c in reader.connections if c.topic == topic]


def _is_picture(reader, connection):
    _, _, data = next(reader.messages([connection]))
    message = reader.deserialize(data, connection.msgtype)
    if connection.msgtype == IMAGE:
        return message.encoding not in NOT_A_PICTURE
    return "compressedDepth" not in message.format and message.format.split(";")[0] not in NOT_A_PICTURE


def _camera_info_topic(reader, image_topic):
    """The camera_info beside the image topic, as image_transport has it, else the only one there is, else None."""
    topics = [c.topic for c in reader.connections if c.msgtype == CAMERA_INFO]
    base = image_topic.removesuffix("/compressed").rpartition("/")[0]
    if f"{base}/camera_info" in topics:
        return f"{base}/camera_info"
    return topics[0] if len(topics) == 1 else None


def _stamp_ns(message):
    stamp = message.header.stamp
    return stamp.sec * 10**9 + stamp.nanosec


def _raw_image(message):
    return RawImage(
        message.height, message.width, message.encoding, message.is_bigendian, message.step, np.asarray(message.data)
    )


def _camera_info(message):
    numbers = {name: tuple(float(v) for v in getattr(message, name)) for name in "dkrp"}
    return CameraInfo(message.height, message.width, message.distortion_model, **numbers)
