# SPDX-License-Identifier: Apache-2.0
"""Data sets on disk as panoptic samples, and the transforms of the training recipes."""

from yoso_ros.data.coco_panoptic import CocoPanoptic
from yoso_ros.data.samples import PanopticSample, training_targets

__all__ = ["CocoPanoptic", "PanopticSample", "training_targets"]
