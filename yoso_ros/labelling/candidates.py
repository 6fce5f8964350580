# SPDX-License-Identifier: Apache-2.0
"""A bounded set of candidates from any number of frames: those that stand out, spread over what there is to see.

Legend: `P` candidates in the set.
"""

import io
import json
import math
import zipfile
from collections import Counter

import numpy as np

from yoso_ros.errors import InputError
from yoso_ros.labelling.appearance import difference, look_difference
from yoso_ros.labelling.interest import FrameInterest

SAME_LOOK = 3.0  # steps of 255 in the mean of the small picture: less is the same place, light and things
PLAIN = tuple(name for name in FrameInterest.__slots__ if name != "look")


class CandidatePool:
    """At most `capacity` frames, none of which look the same; what it holds depends on the order of `add` alone.

    When it is full, of the two most alike the one goes that is less worth.

    Args:
        capacity: at least 2. same_look: frames that differ by less look the same, steps of 255.

    Attributes:
        frames: all that were added; seen: Counter of class id to the frames that have it.
    """

    def __init__(self, capacity, same_look=SAME_LOOK):
        self.capacity, self.same_look = capacity, same_look
        self.frames, self.seen = 0, Counter()
        self._entries, self._looks = [], None
        self._apart = np.full((capacity + 1, capacity + 1), np.inf, np.float32)

    def __iter__(self):
        return iter(sorted(self._entries, key=lambda e: (e.recording, e.index)))

    def __len__(self):
        return len(self._entries)

    def count(self, frames, seen):
        """Add to `frames` and `seen` what another pool counted."""
        self.frames += frames
        self.seen.update(seen)

    def add(self, found, counted=False):
        """Take a `FrameInterest`; `counted` says that `count` has had it."""
        if not counted:
            self.count(1, Counter(found.classes))
        if self._looks is None:
            self._looks = np.zeros((self.capacity + 1, len(found.look)), np.uint8)
        size = len(self._entries)
        if size:
            looks = look_difference(found.look, self._looks[:size])
            nearest = int(looks.argmin())
            if looks[nearest] < self.same_look:
                if self.worth(found) > self.worth(self._entries[nearest]):
                    self._put(nearest, found)
                return
        self._entries.append(found)
        self._put(size, found)
        if size == self.capacity:
            self._drop_one()

    def worth(self, found):
        """What speaks for a frame by itself: doubt, unrest and disagreement as parts of one, and its rarest class."""
        signals = (found.uncertain + found.unrest + found.disagreement) / 100
        return signals + max((self.rarity(c) for c in found.classes), default=0.0)

    def rarity(self, class_id):
        """0 for a class of every frame, 1 for one of a single frame among all those seen so far."""
        if self.frames < 2:
            return 0.0
        return 1 - math.log(max(self.seen[class_id], 1)) / math.log(self.frames)

    def _put(self, place, found):
        size = len(self._entries)
        self._entries[place], self._looks[place] = found, found.look
        row = difference(found.look, self._looks[:size])
        row[place] = np.inf
        self._apart[place, :size] = self._apart[:size, place] = row

    def _drop_one(self):
        size = len(self._entries)
        pair = divmod(int(self._apart[:size, :size].argmin()), size)
        place = min(pair, key=lambda i: (self.worth(self._entries[i]), -self._entries[i].index))
        last = size - 1
        if place != last:
            self._entries[place], self._looks[place] = self._entries[last], self._looks[last]
            self._apart[place, :size] = self._apart[last, :size]
            self._apart[:size, place] = self._apart[:size, last]
            self._apart[place, place] = np.inf
        self._entries.pop()
        self._apart[last, :] = self._apart[:, last] = np.inf


def pool_bytes(pool, faults):
    """A `CandidatePool` and the recording's faults (list of str) as the bytes of an .npz file."""
    rows = [[getattr(e, name) for name in PLAIN] for e in pool]
    plain = {"frames": pool.frames, "seen": sorted(pool.seen.items()), "rows": rows, "faults": faults}
    looks = np.array([e.look for e in pool], np.uint8)
    content = io.BytesIO()
    np.savez_compressed(content, plain=np.array(json.dumps(plain)), looks=looks)
    return content.getvalue()


def read_pool(path):
    """What `pool_bytes` wrote: (frames, seen as a Counter, list of `FrameInterest`, faults).

    Raises:
        InputError: the file is something else.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            plain, looks = json.loads(str(content["plain"])), content["looks"]
        rows = [dict(zip(PLAIN, row, strict=True)) for row in plain["rows"]]
        entries = [
            FrameInterest(**(row | {"classes": tuple(row["classes"])}), look=look)
            for row, look in zip(rows, looks, strict=True)
        ]
        return plain["frames"], Counter(dict(plain["seen"])), entries, plain["faults"]
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: expected candidates as `bag select` keeps them; delete it: {error}") from error
