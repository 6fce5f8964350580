# SPDX-License-Identifier: Apache-2.0
"""Match messages of several topics by their stamps. Needs no ROS, only `header.stamp`."""

from collections import OrderedDict

from yoso_ros.stamps import message_stamp_ns


class StampSync:
    """Collects messages and delivers sets of one per topic.

    With a tolerance of 0 all messages of a set have the same stamp, in whatever order they arrive; stamps may jump.
    Otherwise each message of the first topic is matched with the message of nearest stamp of every other topic, at most
    `tolerance_s` away, as soon as that is certain: once a message of its time or later has arrived there.

    Args:
        names: topics; the first one leads.
        deliver: called with a dict of name to message for each set.
        tolerance_s: seconds, at least 0.
        depth: number of messages kept for each topic; older ones are discarded.
    """

    def __init__(self, names, deliver, tolerance_s=0.0, depth=30):
        self._names, self._deliver, self._depth = tuple(names), deliver, depth
        self._tolerance_ns = round(tolerance_s * 1e9)
        self._kept = {name: OrderedDict() for name in self._names}  # stamp to message, in the order of arrival

    def add(self, name, message):
        """Add a message of a topic; delivers every set that it completes."""
        kept = self._kept[name]
        stamp = message_stamp_ns(message)
        kept.pop(stamp, None)
        kept[stamp] = message
        while len(kept) > self._depth:
            kept.popitem(last=False)
        leader = self._kept[self._names[0]]
        for lead in [stamp] if self._tolerance_ns == 0 else list(leader):
            partners = {other: self._partner(other, lead) for other in self._names}
            if lead in leader and None not in partners.values():
                found = {other: self._kept[other][partner] for other, partner in partners.items()}
                self._forget(partners)
                self._deliver(found)

    def _partner(self, name, lead):
        """Stamp of the message of `name` that matches the leader's stamp, None if there is none yet."""
        kept = self._kept[name]
        if lead in kept:
            return lead
        if self._tolerance_ns == 0 or not kept or max(kept) < lead:
            return None
        nearest = min(kept, key=lambda stamp: abs(stamp - lead))
        return nearest if abs(nearest - lead) <= self._tolerance_ns else None

    def _forget(self, partners):
        """Drop the messages of a delivered set.

        With a tolerance the partners stay, because the next message of a faster leader may be nearest to them too;
        earlier messages are no longer needed.
        """
        if self._tolerance_ns == 0:
            for name, partner in partners.items():
                del self._kept[name][partner]
            return
        for name, partner in partners.items():
            kept = self._kept[name]
            while next(iter(kept)) != partner:
                kept.popitem(last=False)
        leader = self._names[0]
        del self._kept[leader][partners[leader]]
