# SPDX-License-Identifier: Apache-2.0
"""Images of the worst frames: frame, prediction, ground truth and errors, as JPEG in memory.

Legend: `H W` size of a frame in pixels.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from yoso_ros.evaluation.evaluate import match_classes
from yoso_ros.evaluation.panoptic_quality import MATCH_IOU
from yoso_ros.results import UNLABELLED_ID

if TYPE_CHECKING:
    from yoso_ros.label_sets import LabelSet

PICTURE_WIDTH = 480  # pixels
JPEG_QUALITY = 85
WRONG_CLASS, WRONG_SEGMENT = (225, 30, 30), (245, 170, 20)  # RGB


class WorstFrames:
    """Keeps the frames with the lowest PQ, or without ground truth those with the lowest confidence.

    Args:
        count: number of frames to keep.
        model_labels: `LabelSet` of the results. label_set: of the ground truth, None without ground truth.
        overlay: callable (image, panoptic ids of `label_set`, or of the model without ground truth) to an image, both
            uint8 (H, W, 3) RGB.
    """

    def __init__(self, count: int, model_labels: LabelSet, label_set: LabelSet, overlay: Callable[..., Any] | None):
        self.count, self._overlay, self._heap, self._table = count, overlay, [], None
        if label_set is not None:
            self._table = np.full(256, UNLABELLED_ID >> 8, np.uint16)
            categories = match_classes(model_labels, label_set)
            self._table[: len(categories)] = [label_set.contiguous_id[c] for c in categories]

    def add(self, frame: Any) -> None:
        """Take a `ReplayedFrame`; it is drawn only if it is among the worst so far."""
        value = frame.row["confidence_percent"] if self._table is None else frame.pq
        if math.isnan(value) or not self.count:
            return
        # The index breaks ties, so that pictures are never compared.
        place = (-value, -frame.index)
        if len(self._heap) < self.count:
            heapq.heappush(self._heap, (*place, self._draw(frame)))
        elif place > self._heap[0][:2]:
            heapq.heapreplace(self._heap, (*place, self._draw(frame)))

    def compute(self) -> list[dict[str, Any]]:
        """The kept frames, worst first: list of dict with index, value (percent) and pictures (title to JPEG bytes)."""
        ordered = sorted(self._heap, reverse=True)
        return [{"index": -index, "value": -value, "pictures": pictures} for value, index, pictures in ordered]

    def _draw(self, frame):
        predicted = frame.result.panoptic
        pictures = {"frame": frame.image}
        if self._table is None:
            pictures["prediction"] = self._overlay(frame.image, predicted)
        else:
            predicted = (self._table[predicted >> 8] << 8) | (predicted & 255)
            pictures["prediction"] = self._overlay(frame.image, predicted)
            pictures["truth"] = self._overlay(frame.image, frame.truth.panoptic)
            pictures["errors"] = error_picture(frame.image, predicted, frame.truth.panoptic)
        return {title: jpeg(picture) for title, picture in pictures.items()}


def error_picture(image: np.ndarray, predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Where a prediction is wrong: red for a wrong class, orange for the right class in an unmatched segment.

    Args:
        image: uint8 (H, W, 3) RGB, shown in grey.
        predicted, truth: uint16 (H, W) panoptic ids of one label set; unlabelled ground truth has no errors.

    Returns:
        uint8 (H, W, 3) RGB.
    """
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) // 2 + 60
    known = truth != UNLABELLED_ID
    wrong_class = known & (predicted >> 8 != truth >> 8)
    pairs, shared = np.unique((truth.astype(np.int64) << 16 | predicted)[known], return_counts=True)
    areas_truth, areas_predicted = np.bincount(truth.ravel(), minlength=65536), np.bincount(predicted[known].ravel())
    matched = np.zeros(65536, bool)
    for pair, area in zip(pairs.tolist(), shared.tolist(), strict=True):
        one, other = pair >> 16, pair & 0xFFFF
        union = areas_truth[one] + areas_predicted[other] - area
        if one >> 8 == other >> 8 and area / union > MATCH_IOU:
            matched[one] = True
    wrong_segment = known & ~wrong_class & ~matched[truth]
    picture = grey.copy()
    for mask, color in ((wrong_segment, WRONG_SEGMENT), (wrong_class, WRONG_CLASS)):
        picture[mask] = grey[mask] // 3 + np.array(color, np.uint8) // 3 * 2
    return picture


def jpeg(picture: np.ndarray) -> bytes:
    """An image, uint8 (H, W, 3) RGB, as JPEG bytes, at most `PICTURE_WIDTH` wide."""
    height, width = picture.shape[:2]
    if width > PICTURE_WIDTH:
        size = (PICTURE_WIDTH, max(1, round(height * PICTURE_WIDTH / width)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return data.tobytes()
