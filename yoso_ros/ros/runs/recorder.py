# SPDX-License-Identifier: Apache-2.0
"""Subscribes to a panoptic node and collects the messages of each frame by stamp."""

import threading
import time
from dataclasses import dataclass, field

import numpy as np
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from yoso_ros.images.pixels import image_array
from yoso_ros.msg import InferenceStats, PanopticSegmentArray
from yoso_ros.stamps import message_stamp_ns

TOPICS = {
    "panoptic": (Image, "panoptic/image_raw"),
    "segments": (PanopticSegmentArray, "panoptic/segments"),
    "semantic": (Image, "semantic/image_raw"),
    "overlay": (Image, "overlay/image_raw"),
    "stats": (InferenceStats, "stats"),
}
COUNTERS = ("received", "processed", "dropped", "failed")
LABEL_TOPICS = ("panoptic", "segments", "semantic")
QUEUE_DEPTH = 20
PIXELS = {"mono16": (np.uint16, 1), "mono8": (np.uint8, 1), "rgb8": (np.uint8, 3)}


@dataclass
class Parts:
    """Messages of one frame and times of arrival (`time.monotonic()` seconds) by name in `TOPICS`."""

    messages: dict = field(default_factory=dict)
    arrived: dict = field(default_factory=dict)

    @property
    def labels_received_s(self):
        """When the last of the label topics arrived."""
        return max(self.arrived[name] for name in LABEL_TOPICS)


class Recorder:
    """Subscribes to the node's topics; callbacks may run in a different thread from the caller's.

    Args:
        node: rclpy node. name: full name of the panoptic node.
    """

    def __init__(self, node, name="/yoso"):
        self._changed = threading.Condition()
        self._parts, self._complete = {}, []
        self.completed = 0  # frames with a message of every topic
        self._stats, self._base = InferenceStats(), {}
        qos = QoSProfile(depth=QUEUE_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
        self._node, self._topics = node, [f"{name}/{topic}" for _, topic in TOPICS.values()]
        for part, (message_type, topic) in TOPICS.items():
            node.create_subscription(message_type, f"{name}/{topic}", self._callback(part), qos)

    def _callback(self, part):
        def receive(message):
            now = time.monotonic()
            stamp = message_stamp_ns(message)
            with self._changed:
                if part == "stats":
                    self._stats = message
                parts = self._parts.setdefault(stamp, Parts())
                parts.messages[part], parts.arrived[part] = message, now
                if len(parts.messages) == len(TOPICS):
                    self._complete.append((stamp, self._parts.pop(stamp)))
                    self.completed += 1
                if len(self._parts) > QUEUE_DEPTH:  # the oldest has lost a message and will never be complete
                    self._parts.pop(next(iter(self._parts)))
                self._changed.notify_all()

        return receive

    @property
    def is_connected(self):
        """Whether every topic has a publisher."""
        return all(self._node.count_publishers(topic) for topic in self._topics)

    @property
    def stats(self):
        """The last InferenceStats message; all zero before the first."""
        return self._stats

    @property
    def counts(self):
        """The node's counters since `reset`: dict of int, received, processed, dropped and failed."""
        return {name: getattr(self._stats, name) - self._base.get(name, 0) for name in COUNTERS}

    @property
    def finished(self):
        """Number of frames that the node has finished since `reset`: processed, dropped or failed."""
        return sum(self.counts[name] for name in ("processed", "dropped", "failed"))

    def reset(self):
        """Discard everything so far and restart counting."""
        with self._changed:
            self._base = {name: getattr(self._stats, name) for name in COUNTERS}
            self._parts, self._complete, self.completed = {}, [], 0

    def wait_for(self, condition, seconds):
        """Wait until `condition()` holds, at most `seconds`; returns whether it does."""
        with self._changed:
            return self._changed.wait_for(condition, seconds)

    def take(self):
        """The complete frames since the last call: list of (stamp in nanoseconds, `Parts`), in order of completion."""
        with self._changed:
            complete, self._complete = self._complete, []
            return complete


def pixels(message):
    """A view of the pixels of a mono16, mono8 or rgb8 sensor_msgs/Image without padding: (H, W) or (H, W, 3)."""
    return image_array(message, *PIXELS[message.encoding])
