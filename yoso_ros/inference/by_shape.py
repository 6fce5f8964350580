# SPDX-License-Identifier: Apache-2.0
"""What is made for a shape of frames when the first of them comes, and kept for the next."""

from collections import OrderedDict

KEPT_SHAPES = 8  # that one owner keeps; each holds its memory


class ByShape:
    """A cache of the `KEPT_SHAPES` most recently used objects by shape.

    Args:
        make: function that creates the object for a shape (a hashable).
    """

    def __init__(self, make):
        self._make, self._kept = make, OrderedDict()

    def __getitem__(self, shape):
        if shape in self._kept:
            self._kept.move_to_end(shape)
        else:
            while len(self._kept) >= KEPT_SHAPES:
                self._kept.popitem(last=False)
            self._kept[shape] = self._make(shape)
        return self._kept[shape]

    def __len__(self):
        return len(self._kept)
