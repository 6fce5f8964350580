# SPDX-License-Identifier: Apache-2.0
"""Data sets on disk as panoptic samples, and transforms for the training recipes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from yoso_ros.data.ade20k import open_ade20k
from yoso_ros.data.cityscapes import open_cityscapes
from yoso_ros.data.coco_panoptic import CocoPanoptic
from yoso_ros.data.mapillary import is_mapillary, open_mapillary
from yoso_ros.data.samples import PanopticSample, training_targets

if TYPE_CHECKING:
    from yoso_ros.label_sets import LabelSet

__all__ = ["CocoPanoptic", "PanopticSample", "open_dataset", "training_targets"]


def open_dataset(root: str | Path, split: str, label_set: LabelSet | None = None) -> Any:
    """Open the data set below a root folder, detected by its layout.

    Cityscapes has a folder gtFine, Mapillary Vistas training/images or validation/images, ADE20K images/training or
    images/validation; everything else is COCO panoptic.

    Args:
        root: folder of the data set; for Mapillary Vistas also its config file, which selects the version.
        split: name of the split.
        label_set: LabelSet of the categories; by default the data set's own.

    Raises:
        InputError: there is no such split; the message lists the places.
    """
    root = Path(root)
    if (root / "gtFine").is_dir():
        return open_cityscapes(root, split, label_set)
    if is_mapillary(root):
        return open_mapillary(root, split, label_set)
    if any((root / "images" / name).is_dir() for name in ("training", "validation")):
        return open_ade20k(root, split, label_set)
    return CocoPanoptic.from_root(root, split, label_set)
