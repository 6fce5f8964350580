# SPDX-License-Identifier: Apache-2.0
"""Shared parts of detectors with one box per location (FCOS, ICCV 2019): towers, per-level outputs, locations, boxes.

Legend: `B` batch, `T` thing classes, `D` channels; level l of P3..P7 has stride 2^l and a map of (h, w); boxes are
x1 y1 x2 y2 and offsets left, top, right, bottom of a location, both in pixels of the network input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

STRIDES = (8, 16, 32, 64, 128)  # of P3..P7
# Level i is responsible for boxes whose largest offset is between LEVEL_LIMITS[i] and LEVEL_LIMITS[i + 1] (FCOS, 2.2).
LEVEL_LIMITS = (0.0, 64.0, 128.0, 256.0, 512.0, math.inf)
GROUP_CHANNELS = 8  # channels per group in group normalisation: 32 groups for 256 channels, 16 for 128
MAX_LOG_OFFSET = math.log(10000.0)  # pixels; keeps exp finite in every precision
FOCAL_PRIOR = 0.01  # class probability of a newly initialised network (RetinaNet, 4.1)


class Scale(nn.Module):
    """A learned factor, one per level."""

    def __init__(self, value: float = 1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([value]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale


class LevelPredictions(NamedTuple):
    """The head's outputs for one level. The tower features are for further branches."""

    class_logits: torch.Tensor  # (B, T, h, w)
    offsets: torch.Tensor  # (B, 4, h, w), pixels
    centerness_logits: torch.Tensor  # (B, 1, h, w)
    class_features: torch.Tensor  # (B, D, h, w), end of the class tower
    box_features: torch.Tensor  # (B, D, h, w), end of the box tower


def conv_tower(in_channels: int, channels: int, depth: int = 4) -> nn.Module:
    """3x3 convolution, group normalisation, ReLU, repeated `depth` times."""
    layers = []
    for _ in range(depth):
        layers += [
            nn.Conv2d(in_channels, channels, 3, padding=1),
            nn.GroupNorm(channels // GROUP_CHANNELS, channels),
            nn.ReLU(inplace=True),
        ]
        in_channels = channels
    return nn.Sequential(*layers)


def initialize_head(module: nn.Module) -> None:
    """Initialise convolutions as in FCOS: normal with standard deviation 0.01, bias 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.normal_(part.weight, std=0.01)
            nn.init.zeros_(part.bias)  # type: ignore[arg-type]


class Towers(nn.Module):
    """The two towers shared by all levels: one for classes, one for boxes.

    Args:
        in_channels: of the pyramid.
        class_channels, box_channels: widths.
        depth: blocks per tower.
        two_towers: if False, the box tower is also used for the classes, and `class_channels` is ignored.
    """

    def __init__(
        self,
        *,
        in_channels: int = 256,
        class_channels: int = 256,
        box_channels: int = 256,
        depth: int = 4,
        two_towers: bool = True,
    ):
        super().__init__()
        self.class_tower = conv_tower(in_channels, class_channels, depth) if two_towers else None
        self.box_tower = conv_tower(in_channels, box_channels, depth)
        self.class_channels, self.box_channels = class_channels if two_towers else box_channels, box_channels
        initialize_head(self)

    def forward(self, pyramid: Sequence[torch.Tensor]) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
        """Maps P3..P7, each (B, in_channels, h, w), to the tuples of class features and of box features."""
        box_features = tuple(map(self.box_tower, pyramid))
        return (box_features if self.class_tower is None else tuple(map(self.class_tower, pyramid))), box_features


class LevelOutputs(nn.Module):
    """Class, box and centerness predictions of every level from the features of the towers.

    Args:
        num_classes: `T`.
        class_channels, box_channels: of the features.
        offset_form: "exponential": exp(min(s_l * x, log 10000)) pixels (RealTimePan); "relu": relu(s_l * x) strides
            (FCOS, BlendMask).
        scales: whether each level has a learned s_l; else it is 1.
        strides: of the levels.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        class_channels: int,
        box_channels: int,
        offset_form: str,
        scales: bool = True,
        strides: tuple[int, ...] = STRIDES,
    ):
        super().__init__()
        self.strides, self.offset_form = strides, offset_form
        self.class_output = nn.Conv2d(class_channels, num_classes, 3, padding=1)
        self.box_output = nn.Conv2d(box_channels, 4, 3, padding=1)
        self.centerness_output = nn.Conv2d(box_channels, 1, 3, padding=1)
        self.scales = nn.ModuleList(Scale() if scales else nn.Identity() for _ in strides)
        initialize_head(self)
        nn.init.constant_(self.class_output.bias, -math.log((1 - FOCAL_PRIOR) / FOCAL_PRIOR))  # type: ignore[arg-type]
        if offset_form == "exponential":
            self._start_with_boxes_of_the_levels()

    def _start_with_boxes_of_the_levels(self):
        # The bias is shared by all levels; with scales, each level starts with boxes of four strides to each side.
        start = [math.log(4.0 * stride) for stride in self.strides]
        nn.init.constant_(self.box_output.bias, start[0])
        for scale, wanted in zip(self.scales, start, strict=True):
            if isinstance(scale, Scale):
                nn.init.constant_(scale.scale, wanted / start[0])

    def forward(
        self, class_features: tuple[torch.Tensor, ...], box_features: tuple[torch.Tensor, ...]
    ) -> list[LevelPredictions]:
        """Maps of the levels, each (B, D, h, w), to a list of `LevelPredictions`."""
        levels = zip(class_features, box_features, self.scales, self.strides, strict=True)
        return [self._level(*level) for level in levels]

    def _level(self, class_features, box_features, scale, stride):
        offsets = scale(self.box_output(box_features))
        if self.offset_form == "exponential":
            offsets = offsets.clamp(max=MAX_LOG_OFFSET).exp()
        else:
            offsets = functional.relu(offsets) * stride
        return LevelPredictions(
            self.class_output(class_features),
            offsets,
            self.centerness_output(box_features),
            class_features,
            box_features,
        )


def grid_locations(height: int, width: int, stride: int, device: torch.device | str | None = None) -> torch.Tensor:
    """Pixel positions of the locations of a map: float32 (height * width, 2) of x, y; index * stride + stride // 2."""
    # By broadcasting: in an exported graph with ranged sides, repetitions keep the sides it was traced with.
    x = torch.arange(width, device=device, dtype=torch.float32) * stride + stride // 2
    y = torch.arange(height, device=device, dtype=torch.float32) * stride + stride // 2
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1).view(-1, 2)


def offsets_to_boxes(offsets: torch.Tensor, stride: int) -> torch.Tensor:
    """Boxes of a map of offsets, not clipped.

    Args:
        offsets: float32 (B, 4, h, w), left, top, right, bottom in pixels.
        stride: of the map.

    Returns:
        (B, 4, h, w), x1 y1 x2 y2 in pixels.
    """
    height, width = offsets.shape[-2:]
    locations = grid_locations(height, width, stride, offsets.device).T.reshape(1, 2, height, width)
    return torch.cat([locations - offsets[:, :2], locations + offsets[:, 2:]], 1)


def flatten_levels(maps: list[torch.Tensor]) -> torch.Tensor:
    """Maps of the levels, each (B, C, h, w), to (B, L, C), the locations of all levels row by row, P3 first."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in maps], 1)
