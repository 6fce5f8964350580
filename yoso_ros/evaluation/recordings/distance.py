# SPDX-License-Identifier: Apache-2.0
"""Accuracy by distance: segments belong to the band of their median depth, pixels to the band of their own depth.

Legend: `H W` size of a frame in pixels, `B` bands (the last one for unknown depth), `C` classes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from yoso_ros.errors import InputError
from yoso_ros.evaluation.mean_iou import MeanIoU
from yoso_ros.evaluation.panoptic_quality import PanopticQuality, joint_areas, summarise
from yoso_ros.evaluation.segment_maps import semantic_map

if TYPE_CHECKING:
    from yoso_ros.label_sets import LabelSet

EDGES_M = (2.0, 5.0, 10.0, 20.0)  # arm's reach, a room, a street crossing, a street


class DistanceBands:
    """PQ, recall and mIoU per distance band, frame by frame; memory does not grow.

    Segments are matched in the whole frame by the usual rules. A true segment, whether matched or missed, counts in the
    band of its median depth; a false positive in the band of its own. A segment without any known depth, and a pixel
    without depth, count in the last band, of unknown depth. The median of a segment is the lower median over its pixels
    with depth. A value exactly at an edge belongs to the farther band.

    Args:
        label_set: `LabelSet` of the ground truth.
        edges_m: distances between the bands in metres, ascending, above 0.

    Raises:
        InputError: the edges are not ascending or not above 0.
    """

    def __init__(self, label_set: LabelSet, edges_m: tuple[Any, ...] = EDGES_M):
        edges = [float(e) for e in edges_m]
        if not edges or not all(0 < a < b for a, b in zip(edges, [*edges[1:], math.inf], strict=True)):
            raise InputError(f"distance bands: expected rising distances above 0 m, found {', '.join(map(str, edges))}")
        self._edges, self._label_set = np.array(edges), label_set
        self._quality = PanopticQuality(label_set.coco_categories())
        bands, classes = len(edges) + 2, len(label_set)
        self._totals = np.zeros((bands, classes, 4))
        self._semantic = [MeanIoU(classes) for _ in range(bands)]
        self.frames = 0

    def add(
        self,
        ids: np.ndarray,
        segments: list[dict[str, Any]],
        truth_ids: np.ndarray,
        truth_segments: list[dict[str, Any]],
        depth: Any,
    ) -> None:
        """Add a frame.

        Args:
            ids, segments, truth_ids, truth_segments: as for `PanopticQuality.update`.
            depth: float32 (H, W), metres, NaN where it is unknown.

        Raises:
            InputError: the depth differs in size from the maps.
        """
        if depth.shape != truth_ids.shape:
            raise InputError(f"expected depth of the size of the truth, {truth_ids.shape}, found {depth.shape}")
        bands = self._bands(depth)
        areas = joint_areas(truth_ids, [s["id"] for s in truth_segments], ids, [s["id"] for s in segments])
        found = self._quality.match(areas, segments, truth_segments)
        true_band = self._segment_bands(truth_ids, truth_segments, bands)
        own_band = self._segment_bands(ids, segments, bands)
        np.add.at(self._totals, (true_band, found.truth_class, 0), found.iou.sum(axis=1))  # type: ignore[arg-type]
        np.add.at(self._totals, (true_band, found.truth_class, 1), found.is_true_positive)  # type: ignore[arg-type]
        np.add.at(self._totals, (own_band, found.predicted_class, 2), found.is_false_positive)  # type: ignore[arg-type]
        np.add.at(self._totals, (true_band, found.truth_class, 3), found.is_false_negative)  # type: ignore[arg-type]
        predicted = semantic_map(ids, segments, self._label_set)
        truth = semantic_map(truth_ids, truth_segments, self._label_set)
        for band, semantic in enumerate(self._semantic):
            inside = bands == band
            semantic.update(predicted[inside], truth[inside])
        self.frames += 1

    def _bands(self, depth):
        """Band of each pixel, int (H, W)."""
        return np.where(np.isnan(depth), len(self._edges) + 1, np.searchsorted(self._edges, depth, side="right"))

    def _segment_bands(self, ids, segments, bands):
        """Band of the median depth of each segment: int (n,)."""
        known, unknown = len(self._edges) + 1, len(self._edges) + 1
        numbers = [s["id"] for s in segments]
        if not numbers:
            return np.empty(0, np.intp)
        order = np.argsort(numbers)
        at = order[np.minimum(np.searchsorted(numbers, ids, sorter=order), len(numbers) - 1)]
        inside = (np.array(numbers)[at] == ids) & (bands != unknown)
        counts = np.bincount(at[inside] * known + bands[inside], minlength=len(numbers) * known)
        below = counts.reshape(len(numbers), known).cumsum(axis=1)
        # The median is in the first band by whose end half of the pixels are reached; its value is not needed.
        return np.where(below[:, -1] > 0, (2 * below >= below[:, -1:]).argmax(axis=1), unknown)

    def compute(self) -> list[dict[str, Any]]:
        """The result so far.

        Returns:
            list of dict, one per band: "name", "from_m" and "to_m" (None for no limit, both for unknown depth), "PQ",
            "SQ", "RQ", "PQ_things", "PQ_stuff", "recall" (share of true segments found), "mean_iou" (over the classes
            that occur in the band's ground truth: most bands lack some, and a stray pixel of these must not count as a
            class with an IoU of 0); all in percent, NaN if there is nothing; "true_segments", "pixels".
        """
        edges = self._edges.tolist()
        limits = [*zip([0.0, *edges], [*edges, None], strict=True), (None, None)]
        rows = []
        for (low, high), totals, semantic in zip(limits, self._totals, self._semantic, strict=True):
            quality = summarise(self._quality.categories, totals)
            true_positives, false_negatives = totals[:, 1].sum(), totals[:, 3].sum()
            count = int(true_positives + false_negatives)
            rows.append(
                {
                    "name": _name(low, high),
                    "from_m": low,
                    "to_m": high,
                    **{key: quality["All"][key] for key in ("PQ", "SQ", "RQ")},
                    "PQ_things": quality["Things"]["PQ"],
                    "PQ_stuff": quality["Stuff"]["PQ"],
                    "recall": 100 * float(true_positives) / count if count else math.nan,
                    "mean_iou": _mean_iou(semantic),
                    "true_segments": count,
                    "pixels": int(semantic.confusion.sum()),
                }
            )
        return rows


def _mean_iou(semantic):
    is_true = semantic.confusion.sum(axis=1) > 0
    return 100 * float(semantic.compute()[1][is_true].mean()) if is_true.any() else math.nan


def _name(low, high):
    if low is None:
        return "depth unknown"
    return f"over {low:g} m" if high is None else f"{low:g} to {high:g} m"
