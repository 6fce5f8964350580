# SPDX-License-Identifier: Apache-2.0
"""Instance-only DR1Mask (section 3.2.3): a mask is computed in the crop of its box and pasted back.

Legend: `N` instances, best first; `H W` output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from yoso_ros.fusion.instance_attention import crop_logits
from yoso_ros.fusion.instances import Instances
from yoso_ros.fusion.panoptic_from_detections import fuse_detections, joined_pixels, stacked_masks
from yoso_ros.fusion.pasted_masks import pasted_pixels
from yoso_ros.fusion.roi_align import roi_align

if TYPE_CHECKING:
    from yoso_ros.fusion.detections import Detections
    from yoso_ros.fusion.merged import MergedSegments

CROP_SIDE = 56  # section 3.2.3; four times that of an attention
MOST_INSTANCES = 32  # instances cropped at a time; bounds the memory


def cropped_masks(outputs: Any, found: Detections, config: Any, stride: int) -> torch.Tensor:
    """Mask probabilities in the boxes: float32 (N, 56, 56).

    Args:
        outputs: of one image. found: `Detections`. config: a `Dr1MaskConfig`. stride: of the basis.
    """
    basis, parts = outputs.basis.float(), []
    components = outputs.attention_components.float() if config.attention == "factored" else None
    for index in torch.arange(len(found.boxes), device=basis.device).split(MOST_INSTANCES):
        crops = roi_align(basis, found.boxes[index], CROP_SIDE, stride)
        embeddings = outputs.embeddings.float()[found.locations[index]]
        parts.append(crop_logits(crops, embeddings, config.attention, components))
    return torch.cat(parts).sigmoid()


def find_cropped_instances(
    outputs: Any,
    found: Detections,
    class_ids: torch.Tensor,
    input_size: tuple[int, int],
    output_size: tuple[int, int],
    config: Any,
    stride: int,
) -> Instances:
    """`Instances` of the found boxes: masks are cropped to their boxes, may overlap and may be empty.

    Args:
        found: `Detections`, best first. class_ids: int64 (N,). Others as in `cropped_masks` and `merge_unified`.
    """
    pixels = pasted_pixels(cropped_masks(outputs, found, config, stride), found.boxes, input_size, output_size)
    masks = stacked_masks(pixels, len(found.boxes), output_size, found.boxes.device)
    return Instances(class_ids, found.scores, torch.arange(len(masks), device=masks.device), masks, found.boxes)


def merge_cropped(
    outputs: Any,
    found: Detections,
    class_ids: torch.Tensor,
    input_size: tuple[int, int],
    output_size: tuple[int, int],
    config: Any,
    stride: int,
) -> MergedSegments:
    """`MergedSegments` of things only, by the conventional rule; the map is void elsewhere.

    Args:
        as in `find_cropped_instances`.
    """
    pixels = pasted_pixels(cropped_masks(outputs, found, config, stride), found.boxes, input_size, output_size)
    # A semantic map with a thing everywhere adds no stuff.
    nothing = torch.full(tuple(output_size), config.label_set.thing_ids[0], dtype=torch.uint8, device=class_ids.device)
    return fuse_detections(
        joined_pixels(pixels, class_ids.device), found.scores, class_ids, nothing, nothing.float(), config
    )
