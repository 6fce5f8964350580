# SPDX-License-Identifier: Apache-2.0
"""Accuracy of results on a recording: PQ and mIoU and, if the recording allows it, tracking and distance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from yoso_ros.errors import InputError
from yoso_ros.evaluation.evaluate import match_classes
from yoso_ros.evaluation.recordings.tracking_quality import TrackingQuality
from yoso_ros.evaluation.scores import Scores
from yoso_ros.evaluation.segment_maps import coco_prediction
from yoso_ros.results import UNLABELLED_ID

if TYPE_CHECKING:
    from yoso_ros.bags.labels import LabelFrame
    from yoso_ros.evaluation.recordings.distance import DistanceBands
    from yoso_ros.evaluation.recordings.frame_counts import FrameCounts
    from yoso_ros.label_sets import LabelSet


class TruthScores:
    """Scores of results against labels, frame by frame.

    Args:
        model_labels: `LabelSet` of the results. label_set: `LabelSet` of the ground truth.

    Attributes:
        scores: `Scores`; count: frames added.

    Raises:
        InputError: the ground truth lacks a class of the model.
    """

    def __init__(self, model_labels: LabelSet, label_set: LabelSet):
        self._categories, self._label_set = match_classes(model_labels, label_set), label_set
        self.scores, self.count = Scores(label_set), 0

    def add(self, result: Any, label: LabelFrame, where: str) -> float:
        """Add a frame; returns its PQ in percent.

        Args:
            result: has `panoptic` and `segments` of the model's classes: `PanopticResult` or `LabelFrame`.
            label: `LabelFrame`, the ground truth. where: name of the frame in an error.

        Raises:
            InputError: the ground truth's classes do not match its label set, or the sizes differ.
        """
        return self.add_terms(self.terms(result, label, where), where)

    def terms(
        self, result: Any, label: LabelFrame, where: str
    ) -> tuple[np.ndarray, list[dict[str, int]], np.ndarray, list[dict[str, int]]]:
        """A frame in COCO's terms, (ids, segments, true ids, true segments) as for `Scores.add`; arguments as for
        `add`."""
        truth = np.where(label.panoptic == UNLABELLED_ID, 0, label.panoptic.astype(np.int32) + 1)
        classes = self._label_set.classes
        for s in label.segments:
            if s.class_id >= len(classes) or classes[s.class_id].name != s.class_name:
                raise InputError(
                    f"{where}: the truth has class {s.class_id} {s.class_name!r}, which is another one in the label "
                    f"set {self._label_set.name}; give the right one with --label-set"
                )
        segments = [
            {
                "id": s.id + 1,
                "category_id": classes[s.class_id].dataset_id,
                "iscrowd": int(s.is_thing and s.instance_id == 0),
                "track_id": s.track_id,
            }
            for s in label.segments
        ]
        return *coco_prediction(result, self._categories), truth, segments

    def confusion(self) -> dict[str, list[Any]]:
        """Pixels by true class (row) and predicted class (column, the last one unlabelled): dict of "classes", names,
        and "matrix", lists of int."""
        names = [c.name for c in self._label_set.classes]
        return {"classes": names, "matrix": self.scores.mean_iou.confusion.tolist()}

    def add_terms(
        self, terms: tuple[np.ndarray, list[dict[str, int]], np.ndarray, list[dict[str, int]]], where: str
    ) -> float:
        """Add a frame of `terms`; returns its PQ in percent."""
        self.count += 1
        try:
            return self.scores.add(*terms)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error


class RecordingTruth:
    """All metrics against the ground truth of a recording.

    Args:
        model_labels: `LabelSet` of the results. label_set: `LabelSet` of the ground truth.
        depth, bands, frame_counts: see `evaluate_recording`.

    Attributes:
        scores: `TruthScores`.

    Raises:
        InputError: the ground truth lacks a class of the model.
    """

    def __init__(
        self,
        model_labels: LabelSet,
        label_set: LabelSet,
        depth: Any = None,
        bands: DistanceBands | None = None,
        frame_counts: FrameCounts | None = None,
    ):
        self.scores, self._label_set, self._depth = TruthScores(model_labels, label_set), label_set, depth
        self._bands, self._frame_counts = bands, frame_counts
        self._tracking = TrackingQuality(label_set.coco_categories())

    def add(self, result: Any, label: LabelFrame, where: str) -> float:
        """Add a frame, arguments as for `TruthScores.add`; returns its PQ in percent."""
        terms = self.scores.terms(result, label, where)
        pq = self.scores.add_terms(terms, where)
        if self._frame_counts is not None:
            self._frame_counts.add(label.stamp_ns, *self.scores.scores.last)
        if self._tracking is not None and not all(
            s.is_thing <= (s.track_id > 0 or s.instance_id == 0) for s in label.segments
        ):
            self._tracking = None  # this ground truth has no track ids
        if self._tracking is not None:
            self._tracking.add(*terms)
        depth = None if self._depth is None or self._bands is None else self._depth.at(label.stamp_ns)
        if depth is not None:
            try:
                self._bands.add(*terms, depth)
            except InputError as error:
                raise InputError(f"{where}: {error}") from error
        return pq

    def compute(self) -> dict[str, Any]:
        """The part of the report that needs ground truth: dict, see `evaluate_recording`."""
        scores = self.scores.scores
        report = {"images": self.scores.count, **scores.compute(), "confusion": self.scores.confusion()}
        tracking = self._tracking and self._tracking.compute(report["mean_iou"])
        if tracking and tracking["true_tracks"]:
            report["tracking"] = tracking
        if self._bands is not None and self._bands.frames:
            report["distance"] = self._bands.compute()
        return report
