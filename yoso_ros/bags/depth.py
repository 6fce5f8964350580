# SPDX-License-Identifier: Apache-2.0
"""Depth images of a recording that are aligned pixel by pixel with its colour images."""

from yoso_ros.bags.message_types import IMAGE
from yoso_ros.errors import InputError
from yoso_ros.stamps import message_stamp_ns

DEPTH_ENCODINGS = ("16UC1", "32FC1")  # REP-118; mono16 is used by label images
MAX_OFFSET_NS = 20_000_000  # between image and depth: less than a frame at 30 Hz, more than clocks differ


def depth_topic(bag, topic=None):
    """The topic of the depth images in a `Bag`, or None.

    Args:
        bag: `Bag`.
        topic: the one to use; None takes the only one, or among several the one named aligned or registered.

    Raises:
        InputError: `topic` is not a depth topic.
    """
    images = [name for name, t in bag.topics.items() if t.type == IMAGE]
    depths = [name for name in images if _encoding(bag, name) in DEPTH_ENCODINGS]
    if topic is not None:
        if topic not in depths:
            raise InputError(f"{bag.name}: no depth topic {topic!r}; depth topics in it: {', '.join(depths) or 'none'}")
        return topic
    if len(depths) > 1:
        depths = [name for name in depths if "aligned" in name or "registered" in name]
    return depths[0] if len(depths) == 1 else None


class DepthImages:
    """The depth images of a topic in a `Bag`, with ascending stamps; each iteration starts from the beginning.

    Args:
        bag: `Bag`. topic: its name.
        decode: callable from a message to float32 (H, W) metres, NaN where unknown.
    """

    def __init__(self, bag, topic, decode):
        self._bag, self._topic, self._decode = bag, topic, decode

    def __iter__(self):
        """Yield (stamp in nanoseconds, callable that returns the depth)."""
        for _, _, message in self._bag.messages([self._topic]):
            yield message_stamp_ns(message), lambda message=message: self._decode(message)


class NearestDepth:
    """The depth for each image: the nearest in time, if it is near enough. Holds two at a time.

    Args:
        depths: iterable of (stamp in nanoseconds, callable that returns the depth), with ascending stamps.
        max_offset_ns: a depth image further away in time is ignored.
    """

    def __init__(self, depths, max_offset_ns=MAX_OFFSET_NS):
        self._depths, self._max_offset_ns = iter(depths), max_offset_ns
        self._before, self._after = None, next(self._depths, None)

    def at(self, stamp_ns):
        """The depth for an image, float32 (H, W), or None; call it with ascending stamps."""
        while self._after is not None and self._after[0] <= stamp_ns:
            self._before, self._after = self._after, next(self._depths, None)
        near = [d for d in (self._before, self._after) if d and abs(d[0] - stamp_ns) <= self._max_offset_ns]
        return min(near, key=lambda d: abs(d[0] - stamp_ns))[1]() if near else None


def _encoding(bag, topic):
    _, _, message = next(bag.messages([topic]), (None, None, None))
    return getattr(message, "encoding", None)
