# SPDX-License-Identifier: Apache-2.0
"""Raw network outputs of one image to a panoptic segment map."""

from yoso_ros.fusion.mask_classification import (
    MergedSegment,
    MergedSegments,
    merge_full_size_masks,
    merge_mask_classification,
)

__all__ = ["MergedSegment", "MergedSegments", "merge_full_size_masks", "merge_mask_classification"]
