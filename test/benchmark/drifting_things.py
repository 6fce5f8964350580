# SPDX-License-Identifier: Apache-2.0
"""The tracker on drifting things beside every pair of masks compared apart, and on the true masks of a recording.

Legend: `n` things, `H W` size of a frame in pixels.
"""

import math
import time

import numpy as np

from yoso_ros.evaluation.recordings.tracking_quality import TrackingQuality
from yoso_ros.evaluation.recordings.truth import TruthScores
from yoso_ros.results import UNLABELLED_ID, PanopticResult, panoptic_id, segments_of
from yoso_ros.tracking import SegmentTracker

PERIOD_NS = 100_000_000
FILL = 0.5  # of the edge of its cell that a thing takes


def drifting_things(count, height, width, steps, label_set):
    """Results with `count` things on a grid, so that none hides another, all drifting to and fro, a pixel per frame.

    Args:
        count: 1 to 255 of each thing class.
        height, width: pixels. steps: frames. label_set: `LabelSet`.

    Yields:
        `PanopticResult`.
    """
    things, stuff = label_set.thing_ids, next(i for i, c in enumerate(label_set.classes) if not c.is_thing)
    columns = math.ceil(math.sqrt(count * width / height))
    rows = math.ceil(count / columns)
    cell_height, cell_width = height // rows, width // columns
    reach = max(1, cell_width - int(cell_width * FILL))
    for step in range(steps):
        panoptic = np.full((height, width), stuff << 8, np.uint16)
        drift = abs((step + reach) % (2 * reach) - reach)
        for i in range(count):
            y, x = i // columns * cell_height, i % columns * cell_width + drift
            inside = slice(y, y + int(cell_height * FILL)), slice(x, x + int(cell_width * FILL))
            panoptic[inside] = things[i % len(things)] << 8 | (1 + i // len(things))
        semantic = (panoptic >> 8).astype(np.uint8)
        yield PanopticResult(panoptic, semantic, np.full_like(semantic, 255), segments_of(panoptic, label_set), {})


class LiteralTracker:
    """Every track with every segment, one pair of masks at a time at full size; the greatest IoU goes first."""

    def __init__(self):
        self._last, self._next = [], 1

    def update(self, result, stamp_ns):
        """Track id of each thing, in the order of the segments: list of int."""
        things = [(s.class_id, result.panoptic == s.id) for s in result.segments if s.is_thing]
        pairs = []
        for i, (track, kind, before) in enumerate(self._last):
            for j, (class_id, mask) in enumerate(things):
                iou = np.count_nonzero(before & mask) / np.count_nonzero(before | mask) if class_id == kind else 0.0
                pairs.append((iou, i, j, track))
        ids, taken = [0] * len(things), set()
        for iou, i, j, track in sorted(pairs, reverse=True):
            if iou > 0 and not ids[j] and i not in taken:
                ids[j] = track
                taken.add(i)
        for j, track in enumerate(ids):
            if not track:
                ids[j], self._next = self._next, self._next + 1
        self._last = [(track, *thing) for track, thing in zip(ids, things, strict=True)]
        return ids


def tracking_times(results, literal_steps=3):
    """Time the tracker on results, and the literal one on the first of them.

    Args:
        results: iterable of `PanopticResult`, 3 or more. literal_steps: frames of the literal one after its first.

    Returns:
        (milliseconds of each frame but the first two, milliseconds of each literal frame but the first).

    Raises:
        AssertionError: a thing that drifts has changed its id.
    """
    tracker, literal, times, literal_times, seen = SegmentTracker(), LiteralTracker(), [], [], None
    for step, result in enumerate(results):
        started = time.perf_counter()
        tracked = tracker.update(result, step * PERIOD_NS)
        times.append(1e3 * (time.perf_counter() - started))
        ids = {s.id: s.track_id for s in tracked.segments if s.is_thing}
        seen = seen or ids
        if ids != seen or len(set(ids.values())) != len(ids):
            raise AssertionError(f"frame {step}: a thing has changed its id")
        if step <= literal_steps:
            started = time.perf_counter()
            plain = literal.update(result, step * PERIOD_NS)
            literal_times.append(1e3 * (time.perf_counter() - started))
            if dict(zip(ids, plain, strict=True)) != {i: t - min(seen.values()) + 1 for i, t in ids.items()}:
                raise AssertionError(f"frame {step}: the two ways do not give the same ids")
    return times[2:], literal_times[1:]


def track_true_masks(labels, label_set, seed=0):
    """How well the tracker does where every mask is right.

    Args:
        labels: iterable of `LabelFrame` with track ids. label_set: `LabelSet` of them.
        seed: the things of each frame are numbered by chance, so that their numbers say nothing.

    Returns:
        dict of `TrackingQuality.compute`.
    """
    tracker, random = SegmentTracker(), np.random.default_rng(seed)
    terms, quality = TruthScores(label_set, label_set).terms, TrackingQuality(label_set.coco_categories())
    for label in labels:
        panoptic = _numbered_by_chance(label, random)
        result = PanopticResult(panoptic, None, None, segments_of(panoptic, label_set), {})
        tracked = tracker.update(result, label.stamp_ns)
        quality.add(*terms(tracked, label, f"stamp {label.stamp_ns}"))
    return quality.compute(100.0)


def _numbered_by_chance(label, random):
    """uint16 (H, W): the label's panoptic ids with other instance numbers; crowds are unlabelled."""
    table, things = np.arange(1 << 16, dtype=np.uint16), {}
    for s in label.segments:
        if s.is_thing and s.instance_id == 0:
            table[s.id] = UNLABELLED_ID
        elif s.is_thing:
            things.setdefault(s.class_id, []).append(s.id)
    for class_id, ids in things.items():
        table[ids] = [panoptic_id(class_id, 1 + n) for n in random.permutation(len(ids)).tolist()]
    return table[label.panoptic]
