# SPDX-License-Identifier: Apache-2.0
"""Data sets on disk as panoptic samples, and the transforms of the training recipes."""

from pathlib import Path

from yoso_ros.data.cityscapes import Cityscapes
from yoso_ros.data.coco_panoptic import CocoPanoptic
from yoso_ros.data.samples import PanopticSample, training_targets

__all__ = ["Cityscapes", "CocoPanoptic", "PanopticSample", "open_dataset", "training_targets"]


def open_dataset(root, split, label_set=None):
    """The data set below a root folder, by its layout: Cityscapes where there is a gtFine folder, else COCO panoptic.

    Args:
        root: folder of the data set.
        split: name of the split.
        label_set: LabelSet of the categories; by default the data set's own.

    Raises:
        InputError: there is no such split; the message lists the places.
    """
    reader = Cityscapes if (Path(root) / "gtFine").is_dir() else CocoPanoptic.from_root
    return reader(root, split, label_set)
