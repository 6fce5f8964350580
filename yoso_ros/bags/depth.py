# SPDX-License-Identifier: Apache-2.0
"""Depth images of a recording that lie pixel by pixel on its pictures."""

from yoso_ros.bags.message_types import IMAGE
from yoso_ros.errors import InputError
from yoso_ros.stamps import message_stamp_ns

DEPTH_ENCODINGS = ("16UC1", "32FC1")  # REP-118; mono16 is what label images have
MAX_OFFSET_NS = 20_000_000  # between a picture and its depth: less than a frame at 30 Hz, more than two clocks differ


def depth_topic(bag, topic=None):
    """The topic of the depth images in a `Bag`, None where there is none.

    Args:
        bag: `Bag`.
        topic: the one to take; None takes the only one, or of several the one that says it is aligned or registered.

    Raises:
        InputError: `topic` is no depth topic.
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
    """The depth images of a topic in a `Bag`; each iteration starts anew and has rising stamps.

    Args:
        bag: `Bag`. topic: its name.
        decode: callable from a message to float32 (H, W) metres, NaN where unknown.
    """

    def __init__(self, bag, topic, decode):
        self._bag, self._topic, self._decode = bag, topic, decode

    def __iter__(self):
        """Yield (stamp in nanoseconds, callable that gives the depth)."""
        for _, _, message in self._bag.messages([self._topic]):
            yield message_stamp_ns(message), lambda message=message: self._decode(message)


class NearestDepth:
    """The depth that belongs to each picture: the nearest in time, if it is near enough. Two are held at a time.

    Args:
        depths: iterable of (stamp in nanoseconds, callable that gives the depth), rising stamps.
        max_offset_ns: a farther one is none.
    """

    def __init__(self, depths, max_offset_ns=MAX_OFFSET_NS):
        self._depths, self._max_offset_ns = iter(depths), max_offset_ns
        self._before, self._after = None, next(self._depths, None)

    def at(self, stamp_ns):
        """The depth of a picture, float32 (H, W), or None; call it with rising stamps."""
        while self._after is not None and self._after[0] <= stamp_ns:
            self._before, self._after = self._after, next(self._depths, None)
        near = [d for d in (self._before, self._after) if d and abs(d[0] - stamp_ns) <= self._max_offset_ns]
        return min(near, key=lambda d: abs(d[0] - stamp_ns))[1]() if near else None


def _encoding(bag, topic):
    _, _, message = next(bag.messages([topic]), (None, None, None))
    return getattr(message, "encoding", None)
