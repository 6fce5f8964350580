# SPDX-License-Identifier: Apache-2.0
"""The label images of a run, saved next to its report: one 16-bit PNG per frame, named by its stamp."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from yoso_ros.errors import InputError
from yoso_ros.evaluation.evaluate import match_classes
from yoso_ros.files import write_file
from yoso_ros.images.encoded import read_image
from yoso_ros.results import UNLABELLED_CLASS

if TYPE_CHECKING:
    from yoso_ros.label_sets import LabelSet

FOLDER = "labels"


class SavedLabels:
    """Writes label images; removes those of an earlier run in the same folder.

    Args:
        output: pathlib.Path, folder of the run.
        model_labels: `LabelSet` of the results. label_set: `LabelSet` of the ground truth, used in the images.
    """

    def __init__(self, output: Path, model_labels: LabelSet, label_set: LabelSet):
        self._folder = output / FOLDER
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in self._folder.glob("*.png"):
            old.unlink()
        self._table = np.full(256, UNLABELLED_CLASS, np.uint16)
        categories = match_classes(model_labels, label_set)
        self._table[: len(categories)] = [label_set.contiguous_id[c] for c in categories]

    def add(self, frame: Any) -> None:
        """Write the labels of a `ReplayedFrame`."""
        panoptic = frame.result.panoptic
        values = (self._table[panoptic >> 8] << 8) | (panoptic & 255)
        write_file(self._folder / f"{frame.stamp_ns}.png", cv2.imencode(".png", values)[1].tobytes())


def read_labels(output: Path, stamp_ns: int) -> np.ndarray | None:
    """The labels of a frame, uint16 (H, W) panoptic ids of the ground truth's label set, or None if not saved.

    Raises:
        InputError: the file is not a label image.
    """
    path = output / FOLDER / f"{stamp_ns}.png"
    if not path.is_file():
        return None
    values = read_image(path, cv2.IMREAD_UNCHANGED)
    if values.dtype != np.uint16 or values.ndim != 2:
        raise InputError(f"{path}: expected a 16-bit label image saved by evaluate-bag")
    return values
