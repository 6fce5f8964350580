# SPDX-License-Identifier: Apache-2.0
"""PQ and mIoU of panoptic predictions together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from yoso_ros.evaluation.mean_iou import MeanIoU
from yoso_ros.evaluation.panoptic_quality import PanopticQuality, summarise
from yoso_ros.evaluation.segment_maps import semantic_map
from yoso_ros.processes import reduce

if TYPE_CHECKING:
    from yoso_ros.label_sets import LabelSet


class Scores:
    """PQ and mIoU of predictions against ground truth, image by image; memory does not grow.

    Args:
        label_set: `LabelSet` of the ground truth.

    Attributes:
        mean_iou: `MeanIoU`, which has the confusion matrix.
        last: for the last image added, (float64 (C, 4) as `PanopticQuality.totals`, int64 (C, C + 1) as
            `MeanIoU.confusion`); None before.
    """

    def __init__(self, label_set: LabelSet):
        self._label_set = label_set
        self._quality, self.mean_iou = PanopticQuality(label_set.coco_categories()), MeanIoU(len(label_set))
        self.last = None

    @property
    def pq(self) -> float:
        """PQ of all classes so far, percent."""
        return self._quality.compute()["All"]["PQ"]

    def add(
        self,
        ids: np.ndarray,
        segments: list[dict[str, Any]],
        truth_ids: np.ndarray,
        truth_segments: list[dict[str, Any]],
    ) -> float:
        """Add one image, arguments as for `PanopticQuality.update`; returns its PQ (percent, NaN without a segment)."""
        counts = self._quality.count(ids, segments, truth_ids, truth_segments)
        self._quality.totals += counts
        truth = semantic_map(truth_ids, truth_segments, self._label_set)
        confusion = self.mean_iou.count(semantic_map(ids, segments, self._label_set), truth)
        self.mean_iou.confusion += confusion
        self.last = counts, confusion
        return summarise(self._quality.categories, counts)["All"]["PQ"]

    def reduce(self) -> None:
        """Sum the counts over all processes, in every process."""
        self._quality, self.mean_iou = reduce(self._quality), reduce(self.mean_iou)

    def compute(self) -> dict[str, Any]:
        """The result so far: dict with "panoptic_quality", "mean_iou" and "per_class", see `evaluate_segmenter`."""
        result = self._quality.compute()
        miou, iou = self.mean_iou.compute()
        per_class = [
            {
                "name": label.name,
                "is_thing": label.is_thing,
                "category_id": label.dataset_id,
                **result["per_class"][label.dataset_id],
                "semantic_iou": float(iou[i]),
            }
            for i, label in enumerate(self._label_set.classes)
        ]
        return {"panoptic_quality": result, "mean_iou": miou, "per_class": per_class}
