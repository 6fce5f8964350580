# SPDX-License-Identifier: Apache-2.0
"""Raw network outputs of one image to a panoptic segment map, to instances, and to a semantic map."""

from yoso_ros.fusion.instances import Instances, find_instances
from yoso_ros.fusion.mask_classification import (
    MergedSegment,
    MergedSegments,
    merge_full_size_masks,
    merge_mask_classification,
)
from yoso_ros.fusion.semantic import find_semantic_map

__all__ = [
    "Instances",
    "MergedSegment",
    "MergedSegments",
    "find_instances",
    "find_semantic_map",
    "merge_full_size_masks",
    "merge_mask_classification",
]
