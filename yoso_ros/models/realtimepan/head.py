# SPDX-License-Identifier: Apache-2.0
"""The unified panoptic head (section 4.2): per-level outputs, semantics and levelness from the joined towers.

Legend: `B` batch, `T` thing classes, `C` classes; level i of P3..P7 has a map at stride 8 * 2^i; the semantic map has
the size of P3, the levelness twice that size, which is stride 4.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from yoso_ros.models.fcos import STRIDES, LevelOutputs, initialize_head, offsets_to_boxes

DENSE_STRIDE = 4  # of levelness, dense boxes and masks
LEVELNESS_CLASSES = 1 + len(STRIDES)  # 0 is background


class Predictions(NamedTuple):
    """All raw outputs of the head."""

    box_class_logits: list[torch.Tensor]  # 5 of (B, T, h, w)
    box_offsets: list[torch.Tensor]  # 5 of (B, 4, h, w), left, top, right, bottom in pixels
    centerness_logits: list[torch.Tensor]  # 5 of (B, 1, h, w)
    semantic_logits: torch.Tensor  # (B, C, H/8, W/8)
    levelness_logits: torch.Tensor | None  # (B, 6, H/4, W/4); None without levelness

    @property
    def dense_size(self) -> tuple[int, int]:
        """(height, width) of the map at stride 4: twice that of P3."""
        height, width = self.box_offsets[0].shape[-2:]
        return 2 * height, 2 * width


class UnifiedPanopticHead(nn.Module):
    """Features of both towers to `Predictions`.

    Args:
        num_classes: `C`.
        num_things: `T`.
        class_channels, box_channels: widths of the features.
        levelness: whether there is a levelness output (Table 3).
    """

    def __init__(
        self, *, num_classes: int, num_things: int, class_channels: int, box_channels: int, levelness: bool = True
    ):
        super().__init__()
        self.levels = LevelOutputs(
            num_classes=num_things,
            class_channels=class_channels,
            box_channels=box_channels,
            offset_form="exponential",
        )
        self.semantic_output = nn.Conv2d(len(STRIDES) * class_channels, num_classes, 3, padding=1)
        self.levelness_output = None
        if levelness:
            self.levelness_output = nn.Conv2d(len(STRIDES) * box_channels, LEVELNESS_CLASSES, 3, padding=1)
            initialize_head(self.levelness_output)
        initialize_head(self.semantic_output)

    def forward(self, class_features: tuple[torch.Tensor, ...], box_features: tuple[torch.Tensor, ...]) -> Predictions:
        """Maps of P3..P7, each (B, D, h, w), of both towers to `Predictions`."""
        levels = self.levels(class_features, box_features)
        height, width = class_features[0].shape[-2:]
        levelness = None
        if self.levelness_output is not None:
            levelness = self.levelness_output(_joined(box_features, (2 * height, 2 * width)))
        return Predictions(
            [level.class_logits for level in levels],
            [level.offsets for level in levels],
            [level.centerness_logits for level in levels],
            self.semantic_output(_joined(class_features, (height, width))),
            levelness,
        )


def _resize(x, size):
    # To a size, not by a factor: for sides that are not multiples of 128 the coarse maps are stretched (as released).
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _joined(maps, size):
    return torch.cat([_resize(x, size) for x in maps], 1)


def dense_boxes(
    box_offsets: list[torch.Tensor], levelness_logits: torch.Tensor | None, size: tuple[int, int]
) -> torch.Tensor:
    """A box for every pixel at stride 4 (Eq. 14): offsets are resized, a level is chosen, the box is built around it.

    Background is not an option: every pixel gets the box of its most probable level, as in the authors' code.

    Args:
        box_offsets: 5 of (B, 4, h, w), pixels.
        levelness_logits: (B, 6, H, W), or None.
        size: (H, W) of the map.

    Returns:
        (B, 4, H, W), not clipped; without levelness (B, 20, H, W), the boxes of all levels.
    """
    resized = [_resize(offsets, size) for offsets in box_offsets]
    if levelness_logits is None:
        return torch.cat([offsets_to_boxes(offsets, DENSE_STRIDE) for offsets in resized], 1)
    chosen, best = resized[0], levelness_logits[:, 1:2]
    # Comparisons instead of argmax and gather: every engine supports them, and ties go to the first level.
    for level in range(1, len(resized)):
        logit = levelness_logits[:, 1 + level : 2 + level]
        better = logit > best
        chosen, best = torch.where(better, resized[level], chosen), torch.where(better, logit, best)
    return offsets_to_boxes(chosen, DENSE_STRIDE)
