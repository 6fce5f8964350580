# SPDX-License-Identifier: Apache-2.0
"""The contribution of each frame to PQ and mIoU, saved next to a report, to compare two runs frame by frame.

Legend: `F` frames, `C` classes.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yoso_ros.errors import InputError
from yoso_ros.evaluation.mean_iou import hits_and_union
from yoso_ros.files import write_file

if TYPE_CHECKING:
    from yoso_ros.label_sets import LabelSet

FILE_NAME = "frames.npz"


@dataclass(frozen=True, slots=True)
class CountsOfFrames:
    """The counts of a run.

    Attributes:
        names: str (F,), names of the frames: stamp in nanoseconds, or file name.
        classes: str (C,), names; is_thing: bool (C,).
        panoptic: float64 (F, C, 4), sum of IoU, true positives, false positives, false negatives.
        semantic: int64 (F, C, 2), pixels of the intersection and of the union.
    """

    names: np.ndarray
    classes: np.ndarray
    is_thing: np.ndarray
    panoptic: np.ndarray
    semantic: np.ndarray


class FrameCounts:
    """Collects the counts of a run; about 50 bytes per frame and class.

    Args:
        label_set: `LabelSet` of the truth.
    """

    def __init__(self, label_set: LabelSet):
        self._label_set, self._names, self._panoptic, self._semantic = label_set, [], [], []

    def add(self, name: str | int, counts: Any, confusion: Any) -> None:
        """Add a frame: its name, float64 (C, 4) of `PanopticQuality.count`, int64 (C, C + 1) of `MeanIoU.count`."""
        self._names.append(str(name))
        self._panoptic.append(counts)
        self._semantic.append(np.stack(hits_and_union(confusion), axis=1))

    def collect(self, parts: Sequence[Any]) -> None:
        """Replace the content by the union of parts: list of `FrameCounts` with the same classes, one per process."""
        for name in ("_names", "_panoptic", "_semantic"):
            setattr(self, name, [entry for part in parts for entry in getattr(part, name)])

    def compute(self) -> CountsOfFrames:
        """`CountsOfFrames` so far."""
        classes = self._label_set.classes
        return CountsOfFrames(
            np.array(self._names, dtype=np.str_),
            np.array([c.name for c in classes], dtype=np.str_),
            np.array([c.is_thing for c in classes], dtype=bool),
            np.array(self._panoptic, dtype=np.float64).reshape(-1, len(classes), 4),
            np.array(self._semantic, dtype=np.int64).reshape(-1, len(classes), 2),
        )


def write_frame_counts(counts: CountsOfFrames, folder: str | Path) -> None:
    """Write `CountsOfFrames` as `frames.npz` into a folder (pathlib.Path)."""
    content = io.BytesIO()
    np.savez_compressed(content, **{name: getattr(counts, name) for name in CountsOfFrames.__slots__})
    write_file(folder / FILE_NAME, content.getvalue())


def read_frame_counts(folder: str | Path) -> CountsOfFrames:
    """The `CountsOfFrames` of a folder.

    Raises:
        InputError: there is none, or the file was not written by `write_frame_counts`.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise InputError(
            f"expected {path}, which evaluate and evaluate-bag write if there is ground truth; found none: run it again"
        )
    try:
        with np.load(path, allow_pickle=False) as content:
            counts = CountsOfFrames(*(content[name] for name in CountsOfFrames.__slots__))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: expected frame counts as written by evaluate-bag: {error}") from error
    frames, classes = len(counts.names), len(counts.classes)
    if counts.panoptic.shape != (frames, classes, 4) or counts.semantic.shape != (frames, classes, 2):
        raise InputError(f"{path}: expected counts of {frames} frames and {classes} classes, found other shapes")
    return counts
