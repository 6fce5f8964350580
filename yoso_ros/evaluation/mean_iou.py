# SPDX-License-Identifier: Apache-2.0
"""Mean intersection over union of semantic maps, from a confusion matrix summed over the data set.

Legend: `H W` size of a map in pixels, `C` classes.
"""

import numpy as np

from yoso_ros.errors import InputError
from yoso_ros.results import UNLABELLED_CLASS


class MeanIoU:
    """Semantic IoU over a data set, image by image.

    Args:
        num_classes: C, 1 to 255.

    Attributes:
        confusion: int64 (C, C + 1), pixels by true class (row) and predicted class (column); the last column counts
            unlabelled predictions. Summing this array over processes gives the result of the whole data set.
    """

    def __init__(self, num_classes: int):
        self.confusion = np.zeros((num_classes, num_classes + 1), dtype=np.int64)

    def update(self, predicted: np.ndarray, truth: np.ndarray) -> None:
        """Add one image.

        Args:
            predicted: uint8 (H, W) class ids, 255 = unlabelled, which counts as a miss.
            truth: uint8 (H, W) class ids, 255 = ignored.

        Raises:
            InputError: the maps differ in size or contain a class id of C or more other than 255.
        """
        self.confusion += self.count(predicted, truth)

    def count(self, predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """The contribution of one image to `confusion`, without adding it; arguments as for `update`."""
        if predicted.shape != truth.shape:
            raise InputError(f"expected two maps of one size, found {truth.shape} and {predicted.shape}")
        counts = np.bincount((truth.astype(np.intp) << 8 | predicted).ravel(), minlength=1 << 16).reshape(256, 256)
        classes = len(self.confusion)
        if counts[classes:UNLABELLED_CLASS].any() or counts[:, classes:UNLABELLED_CLASS].any():
            raise InputError(f"expected class ids 0 to {classes - 1} and {UNLABELLED_CLASS}, found another")
        return np.concatenate([counts[:classes, :classes], counts[:classes, UNLABELLED_CLASS:]], axis=1)

    def merge(self, other: "MeanIoU") -> None:
        """Add the counts of another MeanIoU with the same classes."""
        self.confusion += other.confusion

    def compute(self) -> tuple[float, np.ndarray]:
        """The result so far.

        Returns:
            (mean IoU in percent, IoU 0..1 of each class as float64 (C,)); a class that occurs neither in the ground
            truth nor in the predictions is NaN and excluded from the mean.
        """
        hits, union = hits_and_union(self.confusion)
        iou = np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)
        return float(100 * np.nanmean(iou)) if (union > 0).any() else float("nan"), iou


def hits_and_union(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of intersection and of union of each class: two int64 (C,) of a confusion matrix (C, C + 1)."""
    hits = np.diagonal(confusion)
    return hits, confusion.sum(axis=1) + confusion[:, :-1].sum(axis=0) - hits
