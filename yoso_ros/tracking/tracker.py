# SPDX-License-Identifier: Apache-2.0
"""One id per object across the frames of a camera: class, moved masks and constant velocity; not learned.

Legend: `n` tracks, `m` things of a frame, `k` pixels of their masks on the coarse map, `H W` size of the frame.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from yoso_ros.tracking.association import MIN_IOU, affinity, greedy_pairs, mask_overlap, nearness

if TYPE_CHECKING:
    from yoso_ros.results import PanopticResult

FIRST_THING_TRACK = 256  # above the ids of stuff, one per class
MAX_MISSED = 5  # frames for which a thing may be hidden and keep its id
MAX_GAP_S = 2.0  # after a longer pause all things are new
COARSE_PIXELS = 40_000  # approximate number of pixels compared: every fifth along each axis at 1280x720
VELOCITY_GAIN = 0.5  # weight of the latest measurement; the first counts in full


def stuff_track(class_id: int) -> int:
    """The track id of a stuff class, 1..255; a stuff class has only one segment, so the class identifies it."""
    return class_id + 1


@dataclass(frozen=True, slots=True)
class _Tracks:
    """The known things; those of the last frame come after those missing in it."""

    ids: np.ndarray  # int64 (n,)
    classes: np.ndarray  # int (n,)
    areas: np.ndarray  # float (n,), pixels
    centroids: np.ndarray  # float (n, 2), pixels, when last seen
    velocities: np.ndarray  # float (n, 2), pixels per second
    seen_ns: np.ndarray  # int64 (n,)
    hits: np.ndarray  # int (n,), number of frames in which it was seen
    missed: np.ndarray  # int (n,), number of frames since


_NOBODY = _Tracks(
    np.empty(0, np.int64),
    np.empty(0, np.intp),
    np.empty(0),
    np.empty((0, 2)),
    np.empty((0, 2)),
    np.empty(0, np.int64),
    np.empty(0, np.intp),
    np.empty(0, np.intp),
)


class SegmentTracker:
    """Tracks the things of one camera. Ids are never reused, not even after a reset.

    A frame continues the tracks of the previous one unless its stamp is earlier, the pause is longer than `max_gap_s`,
    or its size differs; then all things are new.

    Args:
        max_missed: frames for which a thing may be missing and keep its id.
        max_gap_s: seconds.
    """

    def __init__(self, *, max_missed: int = MAX_MISSED, max_gap_s: float = MAX_GAP_S):
        self._max_missed, self._max_gap_ns = max_missed, round(1e9 * max_gap_s)
        self._next_id = FIRST_THING_TRACK
        self._number = np.full(1 << 16, -1, np.int16)  # number of the thing with a panoptic id; -1 outside `update`
        self.reset()

    def reset(self) -> None:
        """Forget all things; those of the next frame are new."""
        self._tracks, self._stamp_ns, self._shape = _NOBODY, None, None
        self._rows = self._columns = self._owners = np.empty(0, np.int32)

    def update(self, result: PanopticResult, stamp_ns: int) -> PanopticResult:
        """The next frame's result with track ids.

        Args:
            result: `PanopticResult`; uint16 (H, W) `panoptic` and `segments` are read.
            stamp_ns: nanoseconds.

        Returns:
            `PanopticResult` with the same arrays and, in the same order, segments with `track_id`: 256 and more for
            things, `stuff_track` for the others.
        """
        things = [s for s in result.segments if s.is_thing]
        ids = dict(zip((s.id for s in things), self._follow(things, result.panoptic, stamp_ns), strict=True))
        segments = [
            dataclasses.replace(s, track_id=ids[s.id] if s.is_thing else stuff_track(s.class_id))
            for s in result.segments
        ]
        return dataclasses.replace(result, segments=segments)

    def _follow(self, things, panoptic, stamp_ns):
        """Track ids of the things: list of int."""
        if self._is_cut(panoptic.shape, stamp_ns):
            self.reset()
        self._stamp_ns, self._shape = stamp_ns, panoptic.shape
        stride = max(1, round(math.sqrt(panoptic.size / COARSE_PIXELS)))
        numbers = self._numbers(things, panoptic[::stride, ::stride])
        pixels = np.flatnonzero(numbers >= 0)
        owners = numbers.ravel().take(pixels)
        classes = np.array([s.class_id for s in things], np.intp)
        areas = np.array([s.area for s in things], np.float64)
        centroids = np.array([s.centroid_xy for s in things], np.float64).reshape(-1, 2)

        old = self._tracks
        moved = old.velocities * (1e-9 * (stamp_ns - old.seen_ns))[:, None]
        overlap = self._overlap(moved / stride, numbers, np.bincount(owners, minlength=len(things)))
        near = nearness(old.centroids + moved, old.areas, centroids, areas)
        tracks, segments = greedy_pairs(affinity(*overlap, near, old.classes[:, None] == classes))
        new = self._measured(tracks, segments, classes, areas, centroids, stamp_ns)
        self._keep(new, tracks, pixels, owners, numbers.shape[1])
        return new.ids.tolist()

    def _overlap(self, shifts, numbers, areas):
        """`mask_overlap` of all tracks; for one without overlap, containment at its old position counts too."""
        iou, inside = mask_overlap(self._rows, self._columns, self._owners, shifts, numbers, areas)
        lost = iou.max(axis=1, initial=0) < MIN_IOU
        if lost.any():
            # The motion of a sliver at the edge of the frame is a guess, possibly as large as the sliver.
            at = np.flatnonzero(lost[self._owners])
            owners = (np.cumsum(lost, dtype=np.int32) - 1)[self._owners[at]]
            still = np.zeros((np.count_nonzero(lost), 2))
            there = mask_overlap(self._rows[at], self._columns[at], owners, still, numbers, areas)
            inside[lost] = np.maximum(inside[lost], there[1])
        return iou, inside

    def _is_cut(self, shape, stamp_ns):
        return self._shape != shape or not 0 <= stamp_ns - self._stamp_ns <= self._max_gap_ns

    def _numbers(self, things, panoptic):
        ids = [s.id for s in things]
        self._number[ids] = np.arange(len(ids))
        numbers = self._number.take(panoptic)
        self._number[ids] = -1
        return numbers

    def _measured(self, tracks, segments, classes, areas, centroids, stamp_ns):
        """`_Tracks` of the frame's things, in order."""
        old, count = self._tracks, len(classes)
        ids, hits, velocities = np.zeros(count, np.int64), np.ones(count, np.intp), np.zeros((count, 2))
        seconds = 1e-9 * (stamp_ns - old.seen_ns[tracks])[:, None]
        step = centroids[segments] - old.centroids[tracks]
        measured = np.divide(step, seconds, out=old.velocities[tracks].copy(), where=seconds > 0)
        gain = np.maximum(VELOCITY_GAIN, 1 / old.hits[tracks])[:, None]
        velocities[segments] = old.velocities[tracks] + gain * (measured - old.velocities[tracks])
        ids[segments], hits[segments] = old.ids[tracks], old.hits[tracks] + 1
        fresh = np.flatnonzero(ids == 0)
        if len(fresh) and len(tracks):  # new things move like the others, because most of the motion is the camera's
            velocities[fresh] = np.median(velocities[segments], axis=0)
        ids[fresh] = self._next_id + np.arange(len(fresh))
        self._next_id += len(fresh)
        seen, missed = np.full(count, stamp_ns, np.int64), np.zeros(count, np.intp)
        return _Tracks(ids, classes, areas, centroids, velocities, seen, hits, missed)

    def _keep(self, new, continued, pixels, owners, width):
        """Remember the frame's things and those that have not been missing for too long.

        Args:
            new: `_Tracks` of the frame's things. continued: int (p,), the old tracks among them.
            pixels, owners: int (k,), position on the map, which is `width` wide, and thing of each mask pixel.
        """
        waits = self._tracks.missed < self._max_missed
        waits[continued] = False
        pixels, width = pixels.astype(np.int32), np.int32(width)
        rows = pixels // width
        columns = pixels - rows * width  # np.divmod takes several times as long
        if waits.any():
            old = dataclasses.replace(self._tracks, missed=self._tracks.missed + 1)
            names = [field.name for field in dataclasses.fields(_Tracks)]
            new = _Tracks(*(np.concatenate([getattr(old, name)[waits], getattr(new, name)]) for name in names))
            place = np.cumsum(waits, dtype=np.int32) - 1  # new place of each track that waits
            waiting = waits[self._owners]
            rows = np.concatenate([self._rows[waiting], rows])
            columns = np.concatenate([self._columns[waiting], columns])
            owners = np.concatenate([place[self._owners[waiting]], owners + np.int32(np.count_nonzero(waits))])
        self._rows, self._columns, self._owners, self._tracks = rows, columns, owners, new
