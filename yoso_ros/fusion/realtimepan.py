# SPDX-License-Identifier: Apache-2.0
"""RealTimePan's outputs of one image to a panoptic segment map, to instances and to a semantic map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from yoso_ros.fusion.dense_boxes import MASK_STRIDE, MaskConstruction, find_queries
from yoso_ros.fusion.detections import Detections
from yoso_ros.fusion.instances import Instances
from yoso_ros.fusion.panoptic_from_detections import fuse_detections, joined_pixels, stacked_masks
from yoso_ros.fusion.semantic_logits import semantic_confidence, semantic_map_of_logits

if TYPE_CHECKING:
    from yoso_ros.fusion.merged import MergedSegments
    from yoso_ros.models.realtimepan.network import RealTimePanConfig, RealTimePanOutputs

SEMANTIC_STRIDE = 8


@torch.no_grad()
def merge_dense_boxes(
    outputs: RealTimePanOutputs, input_size: tuple[int, int], output_size: tuple[int, int], config: RealTimePanConfig
) -> MergedSegments:
    """The panoptic map: masks of the boxes above the score threshold, then stuff.

    Args:
        outputs: `RealTimePanOutputs` of one image, without the batch axis.
        input_size: (height, width) of the network input before padding at the right and bottom.
        output_size: (H, W) of the map.
        config: a `RealTimePanConfig`.

    Returns:
        `MergedSegments`.

    Raises:
        ValueError: inconsistent sizes.
    """
    _check(outputs, input_size, output_size)
    queries = find_queries(outputs, input_size, config, config.score_threshold)
    construction = MaskConstruction(queries, outputs, config)
    masks = joined_pixels(construction.pixels(input_size, output_size), queries.scores.device)
    semantic = outputs.semantic_logits, SEMANTIC_STRIDE, input_size, output_size
    return fuse_detections(
        masks,
        queries.scores,
        _class_ids(queries, config),
        semantic_map_of_logits(*semantic),
        semantic_confidence(*semantic),
        config,
    )


@torch.no_grad()
def find_dense_box_instances(
    outputs: RealTimePanOutputs, input_size: tuple[int, int], output_size: tuple[int, int], config: RealTimePanConfig
) -> Instances:
    """All kept boxes with their masks, highest score first, before any overlap is removed; a mask may be empty.

    Args:
        as in `merge_dense_boxes`.

    Returns:
        `Instances` with `boxes` in pixels of the network input.
    """
    _check(outputs, input_size, output_size)
    queries = find_queries(outputs, input_size, config)
    masks = dense_box_masks(queries, outputs, input_size, output_size, config)
    return Instances(
        class_ids=_class_ids(queries, config),
        scores=queries.scores,
        proposals=torch.arange(len(queries.scores), device=masks.device),
        masks=masks,
        boxes=queries.boxes,
    )


@torch.no_grad()
def dense_box_masks(
    queries: Detections,
    outputs: RealTimePanOutputs,
    input_size: tuple[int, int],
    output_size: tuple[int, int],
    config: RealTimePanConfig,
) -> torch.Tensor:
    """The masks of boxes: `Detections` of N -> bool (N, H, W). Other arguments as in `merge_dense_boxes`."""
    pixels = MaskConstruction(queries, outputs, config).pixels(input_size, output_size)
    return stacked_masks(pixels, len(queries.scores), output_size, queries.scores.device)


@torch.no_grad()
def find_dense_semantic_map(
    outputs: RealTimePanOutputs, input_size: tuple[int, int], output_size: tuple[int, int], _config: RealTimePanConfig
) -> torch.Tensor:
    """The class of every pixel from the semantic logits alone: uint8 (H, W). Arguments as in `merge_dense_boxes`."""
    _check(outputs, input_size, output_size)
    return semantic_map_of_logits(outputs.semantic_logits, SEMANTIC_STRIDE, input_size, output_size)


def _class_ids(queries, config):
    return torch.tensor(config.label_set.thing_ids, device=queries.classes.device)[queries.classes]


def _check(outputs, input_size, output_size):
    height, width = (MASK_STRIDE * side for side in outputs.dense_boxes.shape[-2:])
    if not (1 <= input_size[0] <= height and 1 <= input_size[1] <= width):
        raise ValueError(f"expected an input_size within {(height, width)}, that of dense_boxes, got {input_size}")
    if min(output_size) < 1:
        raise ValueError(f"expected an output_size of at least 1 pixel, got {output_size}")
