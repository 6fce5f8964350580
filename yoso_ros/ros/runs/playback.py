# SPDX-License-Identifier: Apache-2.0
"""Publish recorded frames on a camera's topics, at the recorded or another rate."""

import array
import time

from builtin_interfaces.msg import Time
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from yoso_ros.stamps import seconds_and_nanoseconds

PUBLISHER_DEPTH = 5


def time_message(stamp_ns):
    """builtin_interfaces/Time of nanoseconds."""
    seconds, nanoseconds = seconds_and_nanoseconds(stamp_ns)
    return Time(sec=seconds, nanosec=nanoseconds)


def frame_header(frame, stamp_ns=None):
    """std_msgs/Header of a frame; `stamp_ns` replaces the recorded stamp."""
    stamp = time_message(frame.stamp_ns if stamp_ns is None else stamp_ns)
    return Header(stamp=stamp, frame_id=frame.frame_id)


def picture_message(image, header):
    """sensor_msgs/Image or CompressedImage of a `yoso_ros.bags` image, bytes as stored."""
    data = array.array("B")
    data.frombytes(image.data)
    if hasattr(image, "format"):
        message = CompressedImage(header=header, format=image.format)
    else:
        message = Image(header=header, height=image.height, width=image.width, encoding=image.encoding)
        message.is_bigendian, message.step = int(image.is_bigendian), image.step
    message.data = data
    return message


def camera_info_message(info, header):
    """sensor_msgs/CameraInfo of a `yoso_ros.bags.CameraInfo`."""
    message = CameraInfo(header=header, height=info.height, width=info.width, distortion_model=info.distortion_model)
    message.d, message.k, message.r, message.p = list(info.d), list(info.k), list(info.r), list(info.p)
    return message


class FramePublisher:
    """Publishes frames on `image_raw`, or `image_raw/compressed`, and their calibration on `camera_info`.

    Args:
        node: rclpy node.
        kind: "raw" or "compressed".
        reliability: "reliable" or "best_effort".
        prefix: put before the topic names, such as "camera/".
    """

    def __init__(self, node, kind, reliability="reliable", prefix=""):
        qos = QoSProfile(depth=PUBLISHER_DEPTH, reliability=ReliabilityPolicy[reliability.upper()])
        topic, message_type = ("image_raw", Image) if kind == "raw" else ("image_raw/compressed", CompressedImage)
        self._pictures = node.create_publisher(message_type, prefix + topic, qos)
        self._infos = node.create_publisher(CameraInfo, f"{prefix}camera_info", qos)

    @property
    def subscription_count(self):
        """Number of subscribers of the image topic."""
        return self._pictures.get_subscription_count()

    @property
    def topic(self):
        """Full name of the image topic."""
        return self._pictures.topic_name

    def publish(self, frame, stamp_ns=None):
        """Publish one frame, its calibration first, so that it is available when the image arrives."""
        header = frame_header(frame, stamp_ns)
        if frame.camera_info is not None:
            self._infos.publish(camera_info_message(frame.camera_info, header))
        self._pictures.publish(picture_message(frame.image, header))


class Pacer:
    """When the next frame is due: at the recorded intervals, or at a fixed rate.

    A late frame is due at once and later ones are delayed accordingly: there is no catching up.

    Args:
        rate_hz: frames per second; 0 for the recorded stamps.
        speed: recorded seconds per second, if `rate_hz` is 0.
    """

    def __init__(self, rate_hz=0.0, speed=1.0):
        self._rate, self._speed, self._due, self._last_stamp = rate_hz, speed, None, None

    def seconds_until(self, stamp_ns):
        """Seconds until the frame with this stamp is due, never negative; to be called once per frame."""
        now = time.monotonic()
        if self._due is None:
            self._due = now
        else:
            step = 1 / self._rate if self._rate else max(0.0, (stamp_ns - self._last_stamp) / 1e9 / self._speed)
            self._due = max(self._due + step, now)
        self._last_stamp = stamp_ns
        return self._due - now
