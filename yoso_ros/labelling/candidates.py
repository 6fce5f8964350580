# SPDX-License-Identifier: Apache-2.0
"""A bounded set of candidates from any number of frames: those that stand out, and as different as possible.

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

SAME_LOOK = 3.0  # mean difference of thumbnails (of 255): below it, place, light and objects are the same
PLAIN = tuple(name for name in FrameInterest.__slots__ if name != "look")


class CandidatePool:
    """At most `capacity` frames, no two of which look the same. The content depends only on the order of `add`.

    When it is full, the less valuable of the two most similar frames is removed.

    Args:
        capacity: at least 2. same_look: frames whose thumbnails differ by less (0 to 255) look the same.

    Attributes:
        frames: number of frames added; seen: Counter of class id to the number of frames with it.
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
        """Add the counts of another pool to `frames` and `seen`."""
        self.frames += frames
        self.seen.update(seen)

    def add(self, found, counted=False):
        """Add a `FrameInterest`; `counted`: it is already in the counts."""
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
        """How much a frame is worth by itself: uncertainty, unrest, disagreement (as shares), and its rarest class."""
        signals = (found.uncertain + found.unrest + found.disagreement) / 100
        return signals + max((self.rarity(c) for c in found.classes), default=0.0)

    def rarity(self, class_id):
        """0 for a class in every frame, 1 for a class in only one of the frames seen so far."""
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
    """Read what `pool_bytes` wrote: (frames, seen as a Counter, list of `FrameInterest`, faults).

    Raises:
        InputError: the file has other content.
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
        raise InputError(f"{path}: expected candidates written by `bag select`; delete the file: {error}") from error
