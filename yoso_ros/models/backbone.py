# SPDX-License-Identifier: Apache-2.0
"""ResNet and MobileNetV2 feature extractors with torchvision's key names, so that ImageNet weights load unchanged.

Legend: `B` batch, input (B, 3, H, W) normalised; output the tuple (C2, C3, C4, C5) at strides 4, 8, 16, 32.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn

from yoso_ros.models.layers import BATCH_NORM_EPS, NORMS


def _conv3x3(in_channels, out_channels, stride=1):
    return nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)


def _projection(in_channels, out_channels, stride, norm):
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), norm(out_channels))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (ResNet-18/34)."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, norm: str):
        super().__init__()
        self.conv1, self.bn1 = _conv3x3(in_channels, width, stride), norm(width)
        self.conv2, self.bn2 = _conv3x3(width, width), norm(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(in_channels, width, stride, norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions with the stride in the 3x3 (ResNet-50)."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, norm: str):
        super().__init__()
        out_channels = width * self.expansion
        self.conv1, self.bn1 = nn.Conv2d(in_channels, width, 1, bias=False), norm(width)
        self.conv2, self.bn2 = _conv3x3(width, width, stride), norm(width)
        self.conv3, self.bn3 = nn.Conv2d(width, out_channels, 1, bias=False), norm(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(in_channels, out_channels, stride, norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """ResNet trunk without its classifier.

    Args:
        block: `BasicBlock` or `Bottleneck`.
        depths: number of blocks of the four stages.
        norm: constructor of a normalisation layer.
    """

    def __init__(self, *, block: Any, depths: tuple[int, ...], norm: str):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), norm(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.channels = tuple(width * block.expansion for width in (64, 128, 256, 512))
        in_channels = 64
        for index, depth in enumerate(depths):
            blocks = []
            for position in range(depth):
                stride = 2 if index > 0 and position == 0 else 1
                blocks.append(block(in_channels, 64 * 2**index, stride, norm))
                in_channels = self.channels[index]
            setattr(self, f"layer{index + 1}", nn.Sequential(*blocks))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stages(self) -> list[list[Any]]:
        """Modules of the stem and of the four stages: list of five lists."""
        return [[self.conv1, self.bn1], [self.layer1], [self.layer2], [self.layer3], [self.layer4]]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        c2 = self.layer1(x)
        c3 = self.layer2(c2)
        c4 = self.layer3(c3)
        return c2, c3, c4, self.layer4(c4)


class InvertedResidual(nn.Module):
    """MobileNetV2 block: 1x1 expansion, 3x3 depthwise, linear 1x1 projection."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int, norm: str):
        super().__init__()
        width = in_channels * expansion
        layers = [] if expansion == 1 else [_conv_norm_relu(in_channels, width, 1, 1, 1, norm)]
        layers += [
            _conv_norm_relu(width, width, 3, stride, width, norm),
            nn.Conv2d(width, out_channels, 1, bias=False),
            norm(out_channels),
        ]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


def _conv_norm_relu(in_channels, out_channels, kernel, stride, groups, norm):
    # ReLU, not ReLU6: it quantises equally well, and bfloat16 and int8 engines fuse it.
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, norm(out_channels), nn.ReLU(inplace=True))


# (expansion, channels, blocks, stride), Table 2 of the MobileNetV2 paper.
_MOBILENET_V2_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip
_MOBILENET_V2_TAPS = (3, 6, 13, 17)  # last block of strides 4, 8, 16, 32


class MobileNetV2(nn.Module):
    """MobileNetV2 trunk up to its last inverted residual block (without the 1280-channel layer)."""

    def __init__(self, *, norm: str):
        super().__init__()
        layers = [_conv_norm_relu(3, 32, 3, 2, 1, norm)]
        in_channels = 32
        for expansion, channels, blocks, stride in _MOBILENET_V2_STAGES:
            for position in range(blocks):
                step = stride if position == 0 else 1
                layers.append(InvertedResidual(in_channels, channels, step, expansion, norm))
                in_channels = channels
        self.features = nn.Sequential(*layers)
        self.channels = (24, 32, 96, 320)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def stages(self) -> list[list[Any]]:
        """Modules of the stem (to stride 2) and of the four stages: list of five lists."""
        ends = (2, *(tap + 1 for tap in _MOBILENET_V2_TAPS[:-1]), len(self.features))
        begins = (0, *ends)
        return [list(self.features[begin:end]) for begin, end in zip(begins, ends, strict=False)]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in _MOBILENET_V2_TAPS:
                outputs.append(x)
        return tuple(outputs)


def create_backbone(name: str, norm: Any, norm_eps: float = BATCH_NORM_EPS) -> MobileNetV2 | ResNet:
    """Build a backbone.

    Args:
        name: "resnet18", "resnet34", "resnet50" or "mobilenet_v2".
        norm: "frozen_batch_norm" or "batch_norm".
        norm_eps: added to the variances.

    Returns:
        Module with attribute `channels` (of C2..C5).
    """
    norm = functools.partial(NORMS[norm], eps=norm_eps)
    if name == "mobilenet_v2":
        return MobileNetV2(norm=norm)
    block, depths = {
        "resnet18": (BasicBlock, (2, 2, 2, 2)),
        "resnet34": (BasicBlock, (3, 4, 6, 3)),
        "resnet50": (Bottleneck, (3, 4, 6, 3)),
    }[name]
    return ResNet(block=block, depths=depths, norm=norm)
