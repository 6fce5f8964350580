# SPDX-License-Identifier: Apache-2.0
"""Feature pyramid aggregator (paper section 3.2): deformable pyramid, IFA and CFA, exact re-parameterisation.

Legend: C2..C5 backbone maps at strides 4, 8, 16, 32; P2..P5 pyramid maps with channels c2..c5; `H W` stride-4 map;
`A` aggregator channels; `D` hidden channels of the output.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from yoso_ros.models.deformable_conv import TAPS, ModulatedDeformConv2d


class DeformableUpsample(nn.Module):
    """Deformable convolution, then a stride-2 transposed convolution: (B, I, h, w) -> (B, O, 2h, 2w)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.offset = nn.Conv2d(in_channels, 3 * TAPS, 3, padding=1)
        self.deform = ModulatedDeformConv2d(in_channels, out_channels)
        self.deform_norm = nn.BatchNorm2d(out_channels)
        self.upsample = nn.ConvTranspose2d(out_channels, out_channels, 4, 2, 1, bias=False)
        self.upsample_norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        offset, mask = self.offset(x).split((2 * TAPS, TAPS), dim=1)
        x = F.relu(self.deform_norm(self.deform(x, offset, mask.sigmoid())))
        return F.relu(self.upsample_norm(self.upsample(x)))


class DeformablePyramid(nn.Module):
    """Lateral 1x1 convolutions and a top-down path of `DeformableUpsample`: (C2..C5) -> (P2..P5)."""

    def __init__(self, backbone_channels: Sequence[int], pyramid_channels: Sequence[int]):
        super().__init__()
        c2, c3, c4, c5 = pyramid_channels
        self.laterals = nn.ModuleList(
            nn.Conv2d(i, o, 1) for i, o in zip(backbone_channels, pyramid_channels, strict=True)
        )
        self.upsamples = nn.ModuleList(
            (DeformableUpsample(c3, c2), DeformableUpsample(c4, c3), DeformableUpsample(c5, c4))
        )

    def forward(self, features: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        pyramid = [self.laterals[3](features[3])]
        for level in (2, 1, 0):
            pyramid.insert(0, self.laterals[level](features[level]) + self.upsamples[level](pyramid[0]))
        return tuple(pyramid)


class InterpolationFirstAggregation(nn.Module):
    """IFA: upsample all levels to stride 4, concatenate, one 1x1 convolution: (P2..P5) -> (B, A, H, W)."""

    def __init__(self, pyramid_channels: Sequence[int], channels: int):
        super().__init__()
        self.pyramid_channels = tuple(pyramid_channels)
        self.weight = nn.Parameter(torch.empty(channels, sum(pyramid_channels), 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, pyramid: Sequence[torch.Tensor]) -> torch.Tensor:
        size = pyramid[0].shape[-2:]
        maps = [pyramid[0], *(F.interpolate(p, size=size, mode="bilinear", align_corners=False) for p in pyramid[1:])]
        return F.conv2d(torch.cat(maps, dim=1), self.weight) + self.bias

    def to_convolution_first(self) -> ConvolutionFirstAggregation:
        """The equivalent `ConvolutionFirstAggregation` (Observation I: the split weights of one 1x1 convolution)."""
        cfa = ConvolutionFirstAggregation(self.pyramid_channels, self.weight.shape[0]).to(self.weight)
        with torch.no_grad():
            for conv, part in zip(cfa.convs, self.weight.split(self.pyramid_channels, dim=1), strict=True):
                conv.weight.copy_(part)
            cfa.bias.copy_(self.bias)
        return cfa.train(self.training)


class ConvolutionFirstAggregation(nn.Module):
    """CFA: a 1x1 convolution at each level, upsample fewer channels, sum: (P2..P5) -> (B, A, H, W)."""

    def __init__(self, pyramid_channels: Sequence[int], channels: int):
        super().__init__()
        self.pyramid_channels = tuple(pyramid_channels)
        self.convs = nn.ModuleList(nn.Conv2d(c, channels, 1, bias=False) for c in pyramid_channels)
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, pyramid: Sequence[torch.Tensor]) -> torch.Tensor:
        size = pyramid[0].shape[-2:]
        total = self.convs[0](pyramid[0])
        for conv, level in zip(self.convs[1:], pyramid[1:], strict=True):
            total = total + F.interpolate(conv(level), size=size, mode="bilinear", align_corners=False)
        return total + self.bias

    def to_interpolation_first(self) -> InterpolationFirstAggregation:
        """The equivalent `InterpolationFirstAggregation`."""
        ifa = InterpolationFirstAggregation(self.pyramid_channels, self.bias.shape[1]).to(self.bias)
        with torch.no_grad():
            ifa.weight.copy_(torch.cat([conv.weight for conv in self.convs], dim=1))
            ifa.bias.copy_(self.bias)
        return ifa.train(self.training)


AGGREGATIONS = {"ifa": InterpolationFirstAggregation, "cfa": ConvolutionFirstAggregation}


class FeaturePyramidAggregator(nn.Module):
    """Neck of YOSO: backbone maps to a single map with coordinates, (C2..C5) -> (B, D, H, W).

    Args:
        backbone_channels: channels of C2..C5.
        pyramid_channels: channels of P2..P5 (the authors: half of the backbone's).
        aggregator_channels: `A`.
        hidden_dim: `D`.
        form: "cfa" or "ifa".
    """

    def __init__(
        self,
        *,
        backbone_channels: Sequence[int],
        pyramid_channels: Sequence[int],
        aggregator_channels: int,
        hidden_dim: int,
        form: str,
    ):
        super().__init__()
        self.pyramid = DeformablePyramid(backbone_channels, pyramid_channels)
        self.aggregation = AGGREGATIONS[form](pyramid_channels, aggregator_channels)
        self.output_conv = nn.Conv2d(aggregator_channels, aggregator_channels, 3, padding=1)
        self.location_conv = nn.Conv2d(aggregator_channels + 2, hidden_dim, 1)
        # The authors' initialisation: everything with more than one dimension, including the (1, A, 1, 1) bias.
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1 and not name.startswith("location_conv"):
                nn.init.xavier_uniform_(parameter)
        for upsample in self.pyramid.upsamples:
            nn.init.zeros_(upsample.offset.bias)  # type: ignore[arg-type]

    def forward(self, features: tuple[torch.Tensor, ...]) -> torch.Tensor:
        x = self.output_conv(self.aggregation(self.pyramid(features)))
        return self.location_conv(torch.cat((x, _coordinates(x)), dim=1))


def _coordinates(x):
    """Normalised coordinates in channel order (x, y), -1..1 with both ends included: (B, 2, H, W)."""
    batch, _, height, width = x.shape
    # Not `linspace`: an exported graph for any size would be fixed to the size that it was traced with.
    dtype = torch.promote_types(x.dtype, torch.float32)
    xs, ys = (torch.arange(n, device=x.device, dtype=dtype) for n in (width, height))
    xs, ys = ((2 * t / t[-1:] - 1).to(x.dtype) for t in (xs, ys))
    shape = (batch, 1, height, width)
    return torch.cat((xs.view(1, 1, 1, width).expand(shape), ys.view(1, 1, height, 1).expand(shape)), dim=1)


def convert_aggregation(state_dict: dict[str, torch.Tensor], form: str) -> dict[str, torch.Tensor]:
    """Re-parameterise the aggregator weights of a model's state dict to `form` ("cfa" or "ifa"), exactly.

    Works on the keys `neck.aggregation.*`; a state dict already in that form is returned unchanged.
    """
    prefix = "neck.aggregation."
    split = [f"{prefix}convs.{level}.weight" for level in range(4)]
    joint = f"{prefix}weight"
    if form == "ifa" and split[0] in state_dict:
        converted = {k: v for k, v in state_dict.items() if k not in split}
        converted[joint] = torch.cat([state_dict[k] for k in split], dim=1)
        return converted
    if form == "cfa" and joint in state_dict:
        # The channel counts of the pyramid are those of its lateral convolutions.
        channels = [state_dict[f"neck.pyramid.laterals.{level}.weight"].shape[0] for level in range(4)]
        converted = {k: v for k, v in state_dict.items() if k != joint}
        # Separate storage: safetensors rejects views that share memory.
        parts = (part.clone() for part in state_dict[joint].split(channels, dim=1))
        converted.update(zip(split, parts, strict=True))
        return converted
    return dict(state_dict)
