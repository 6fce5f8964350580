# SPDX-License-Identifier: Apache-2.0
"""Panoptic quality (Kirillov et al., CVPR 2019) with the rules and numbers of the COCO panopticapi, vectorised.

Legend: `H W` size of a label map in pixels, `C` categories, `T` truth and `P` predicted segments of an image.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from yoso_ros.errors import InputError

VOID_ID = 0
MAX_ID = 2**24 - 1  # what a COCO panoptic PNG can hold
MATCH_IOU = 0.5  # a pair matches above this; then the matching is unique
IGNORED_SHARE = 0.5  # a prediction with more than this on void or crowd is not a false positive

CACHED_PIXELS = 1 << 17  # compared at a time, to stay in a core's cache

# Rows of the matrix of joint areas: 0 = ids that belong to no segment, 1 = void, then the segments.
UNKNOWN, VOID, FIRST = 0, 1, 2


class Matching(NamedTuple):
    """The matching of the segments of an image; a true segment matches at most one predicted one.

    Attributes:
        truth_class, predicted_class: int (T,) and (P,), indices of the categories.
        iou: float64 (T, P), 0 for pairs that do not match.
        is_true_positive, is_false_negative: bool (T,); is_false_positive: bool (P,).
    """

    truth_class: np.ndarray
    predicted_class: np.ndarray
    iou: np.ndarray
    is_true_positive: np.ndarray
    is_false_positive: np.ndarray
    is_false_negative: np.ndarray


class PanopticQuality:
    """PQ, SQ and RQ over a data set, image by image; memory does not grow with the number of images.

    Args:
        categories: list of dict with `id`, `name` and `isthing` (COCO categories).

    Attributes:
        totals: float64 (C, 4), sum of IoU, true positives, false positives and false negatives per category in the
            order of `categories`. Summing this array over processes gives the result of the whole data set.
    """

    def __init__(self, categories: list[dict[str, Any]]):
        self.categories = [dict(category) for category in categories]
        self._index = {category["id"]: i for i, category in enumerate(self.categories)}
        if len(self._index) != len(self.categories):
            raise InputError("PanopticQuality: expected distinct category ids, found one twice")
        self.totals = np.zeros((len(self.categories), 4))
        self._warned = False

    def update(
        self,
        predicted_ids: np.ndarray,
        predicted_segments: list[dict[str, Any]],
        truth_ids: np.ndarray,
        truth_segments: list[dict[str, Any]],
    ) -> None:
        """Add one image.

        Areas are counted in the maps. If the `area` of a true segment differs, a warning is logged once; panopticapi,
        which trusts it, would give different numbers. As in panopticapi, pixels of a true id without a segment belong
        to no segment and are not void.

        Args:
            predicted_ids: int (H, W), segment id per pixel, 0 = void, ids below 2**24.
            predicted_segments: COCO `segments_info` list; `id` and `category_id` are read.
            truth_ids: int (H, W), likewise.
            truth_segments: likewise; `id`, `category_id` and, if present, `iscrowd` and `area` are read.

        Raises:
            InputError: the maps differ in size, contain ids out of range, or do not match their segments; or a category
                is unknown.
        """
        self.totals += self.count(predicted_ids, predicted_segments, truth_ids, truth_segments)

    def count(
        self,
        predicted_ids: np.ndarray,
        predicted_segments: list[dict[str, Any]],
        truth_ids: np.ndarray,
        truth_segments: list[dict[str, Any]],
    ) -> np.ndarray:
        """The contribution of one image to `totals`, float64 (C, 4), without adding it; arguments as for `update`."""
        predicted, truth = ({s["id"]: s for s in segments} for segments in (predicted_segments, truth_segments))
        areas = joint_areas(np.asarray(truth_ids), list(truth), np.asarray(predicted_ids), list(predicted))
        self._check(areas, truth, predicted_ids, predicted)
        return self.count_areas(areas, list(predicted.values()), list(truth.values()))

    def count_areas(
        self, areas: np.ndarray, predicted_segments: list[dict[str, Any]], truth_segments: list[dict[str, Any]]
    ) -> np.ndarray:
        """The contribution of an image, or of several at once, whose joint areas are known.

        Args:
            areas: int (2 + T, 2 + P), see `joint_areas`.
            predicted_segments, truth_segments: in the order of the columns and rows, else as for `update`.

        Returns:
            float64 (C, 4), as `totals`.
        """
        m = self.match(areas, predicted_segments, truth_segments)
        result = np.zeros_like(self.totals)
        np.add.at(result[:, 0], m.truth_class, m.iou.sum(axis=1))
        np.add.at(result[:, 1], m.truth_class, m.is_true_positive)
        np.add.at(result[:, 2], m.predicted_class, m.is_false_positive)
        np.add.at(result[:, 3], m.truth_class, m.is_false_negative)
        return result

    def match(
        self, areas: np.ndarray, predicted_segments: list[dict[str, Any]], truth_segments: list[dict[str, Any]]
    ) -> Matching:
        """The `Matching` of the segments; arguments as for `count_areas`."""
        truth_class = self._classes(truth_segments, "true")
        predicted_class = self._classes(predicted_segments, "predicted")
        crowd = np.array([bool(s.get("iscrowd")) for s in truth_segments], dtype=bool)

        predicted_areas, shared, on_void = areas[:, FIRST:].sum(axis=0), areas[FIRST:, FIRST:], areas[VOID, FIRST:]
        iou = segment_iou(areas, (truth_class[:, None] == predicted_class) & ~crowd[:, None])
        matched = iou > MATCH_IOU

        # panopticapi keeps one crowd segment per category, the last in the list; so do we, to give the same numbers.
        last_crowd = {truth_class[i]: i for i in np.flatnonzero(crowd)}
        on_crowd = np.array([shared[last_crowd[c], j] if c in last_crowd else 0 for j, c in enumerate(predicted_class)])
        ignored = (on_void + on_crowd) / predicted_areas > IGNORED_SHARE

        return Matching(
            truth_class,
            predicted_class,
            np.where(matched, iou, 0.0),
            np.asarray(matched.any(axis=1)),
            ~matched.any(axis=0) & ~ignored,
            ~matched.any(axis=1) & ~crowd,
        )

    def merge(self, other: PanopticQuality) -> None:
        """Add the counts of another PanopticQuality with the same categories."""
        if self.categories != other.categories:
            raise InputError("PanopticQuality.merge: expected the same categories in the same order")
        self.totals += other.totals

    def compute(self) -> dict[str, dict[Any, Any]]:
        """The result so far.

        Returns:
            dict with "All", "Things", "Stuff": {"PQ", "SQ", "RQ" in percent, "N" categories seen}, and "per_class":
            {category id: {"pq", "sq", "rq" (0..1), "iou" (sum), "tp", "fp", "fn"}}. A category that occurs neither in
            the ground truth nor in the predictions is excluded from the means; it, and a group without any category
            seen, are NaN.
        """
        return summarise(self.categories, self.totals)

    def _classes(self, segments, kind):
        unknown = sorted({s["category_id"] for s in segments} - self._index.keys(), key=str)
        if unknown:
            raise InputError(f"a {kind} segment has category {unknown[0]!r}; known: {', '.join(map(str, self._index))}")
        return np.array([self._index[s["category_id"]] for s in segments], dtype=np.intp)

    def _check(self, areas, truth, predicted_ids, predicted):
        if areas[:, UNKNOWN].any():
            found = sorted(set(np.unique(predicted_ids).tolist()) - {VOID_ID, *predicted})
            raise InputError(f"predicted map: id {found[0]} is in the map and not in the list of segments")
        empty = np.flatnonzero(areas[:, FIRST:].sum(axis=0) == 0)
        if empty.size:
            raise InputError(f"predicted segments: id {list(predicted)[empty[0]]} is in the list and not in the map")
        counted = areas[FIRST:].sum(axis=1).tolist()
        wrong = [(i, s["area"], n) for (i, s), n in zip(truth.items(), counted, strict=True) if s.get("area", n) != n]
        if wrong and not self._warned:
            self._warned = True
            segment_id, area, count = wrong[0]
            warnings.warn(
                f"true segment {segment_id} says area {area} but has {count} pixels; the pixels are used, and "
                "panopticapi would give another result (reported once)",
                stacklevel=4,
            )


def summarise(categories: list[dict[str, Any]], totals: np.ndarray) -> dict[str, dict[Any, Any]]:
    """PQ, SQ and RQ of counts: see `PanopticQuality.compute`.

    Args:
        categories: list of C dict with `id` and `isthing`.
        totals: float64 (C, 4), sum of IoU, true positives, false positives, false negatives.
    """
    iou, tp, fp, fn = totals.T
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = tp + 0.5 * fp + 0.5 * fn
        pq, rq = iou / weight, tp / weight  # 0/0 is NaN: the category was not seen
        sq = np.where(weight > 0, np.where(tp > 0, iou / tp, 0.0), np.nan)
    seen, things = weight > 0, np.array([bool(c["isthing"]) for c in categories], dtype=bool)
    result = {}
    for name, group in (("All", seen), ("Things", seen & things), ("Stuff", seen & ~things)):
        values = (("PQ", pq), ("SQ", sq), ("RQ", rq))
        means = {key: 100 * float(v[group].mean()) if group.any() else float("nan") for key, v in values}
        result[name] = {**means, "N": int(group.sum())}
    result["per_class"] = {
        category["id"]: {
            "pq": float(pq[i]),
            "sq": float(sq[i]),
            "rq": float(rq[i]),
            "iou": float(iou[i]),
            "tp": int(tp[i]),
            "fp": int(fp[i]),
            "fn": int(fn[i]),
        }
        for i, category in enumerate(categories)
    }
    return result


def segment_iou(areas: np.ndarray, comparable: np.ndarray) -> np.ndarray:
    """Intersection over union of each pair of segments by the rules of panopticapi: float64 (T, P).

    Args:
        areas: int (2 + T, 2 + P), see `joint_areas`.
        comparable: bool (T, P), pairs that may match; the others get 0.
    """
    shared = areas[FIRST:, FIRST:]
    union = areas[FIRST:].sum(axis=1)[:, None] + areas[:, FIRST:].sum(axis=0) - shared - areas[VOID, FIRST:]
    return np.where(comparable, shared / np.maximum(union, 1), 0.0)


def joint_areas(truth_ids: np.ndarray, truth: list[int], predicted_ids: np.ndarray, predicted: list[int]) -> np.ndarray:
    """Pixels shared by each pair of ids: int64 (2 + T, 2 + P); rows and columns UNKNOWN, VOID, then the segments."""
    if truth_ids.shape != predicted_ids.shape or truth_ids.ndim != 2:
        raise InputError(f"expected two (H, W) maps of one size, found {truth_ids.shape} and {predicted_ids.shape}")
    columns = FIRST + len(predicted)
    truth_ids, predicted_ids = truth_ids.ravel(), predicted_ids.ravel()
    # Label maps are long runs of one pair of ids, so only the first pixel of each run is looked up.
    starts = _run_starts(truth_ids, predicted_ids)
    lengths = np.diff(starts, append=truth_ids.size)
    cells = _look_up(truth_ids[starts], truth, columns, "true")
    cells += _look_up(predicted_ids[starts], predicted, 1, "predicted")
    counts = np.bincount(cells, weights=lengths, minlength=(FIRST + len(truth)) * columns)
    return counts.astype(np.int64).reshape(FIRST + len(truth), columns)


def _run_starts(first, second):
    """Where a run of equal pairs begins in two arrays (N,): int64."""
    starts = [np.zeros(min(first.size, 1), dtype=np.intp)]
    for begin in range(1, first.size, CACHED_PIXELS):
        part, before = slice(begin, begin + CACHED_PIXELS), slice(begin - 1, min(begin + CACHED_PIXELS, first.size) - 1)
        changes = first[part] != first[before]
        changes |= second[part] != second[before]
        starts.append(np.flatnonzero(changes) + begin)
    return np.concatenate(starts)


def _look_up(ids, segment_ids, step, kind):
    """Position of each id times `step`, int64 of the shape of `ids`: 0 for an unclaimed id, 1 void, 2... segments."""
    if ids.dtype.kind not in "iu":
        raise InputError(f"{kind} map: expected integers, found {ids.dtype}")
    everything = [*segment_ids, int(ids.min(initial=0)), int(ids.max(initial=0))]
    if min(everything) < 0 or max(everything) > MAX_ID:
        raise InputError(
            f"{kind} map or segments: expected ids 0 to {MAX_ID}, found {min(everything)} to {max(everything)}"
        )
    if VOID_ID in segment_ids:
        raise InputError(f"{kind} segments: id {VOID_ID} is void and cannot be a segment")
    known = np.array([VOID_ID, *segment_ids], dtype=np.int64)
    order = np.argsort(known)
    nearest = order[np.minimum(np.searchsorted(known, ids, sorter=order), len(known) - 1)]
    return np.where(known[nearest] == ids, nearest + VOID, UNKNOWN) * step
