# SPDX-License-Identifier: Apache-2.0
"""The inference decoder of a YOSO network, which works on the map before the location convolution.

Legend: `B` batch, `N` proposals, `D` hidden, `A` channels of the map before the location convolution; `H W` stride 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    pass


class ProjectedDecoder(nn.Module):
    """A decoder that works on the map before the location convolution, which has half as many channels.

    The convolution is 1x1 and linear, features = W x + b, and the decoder uses the features only in products. So a sum
    of features over a mask is W (sum of x) + area b, and kernels times features are (kernels W) x + kernels b. This
    halves the work of the five products over the map, nine tenths of the decoder's work, and needs no convolution.

    Args:
        location: 1x1 convolution A -> D.
        decoder: a `SeparableDynamicDecoder`.
    """

    def __init__(self, location: Any, decoder: Any):
        super().__init__()
        self.temperature, self.stages = decoder.temperature, decoder.stages
        self.weight = nn.Parameter(location.weight.flatten(1))
        self.bias = nn.Parameter(location.bias)
        self.kernels = nn.Parameter(decoder.kernels.weight.flatten(1))
        # In float64, rounded once.
        kernels, bias = self.kernels.double(), decoder.kernels.bias.double()
        self.mask_kernels = nn.Parameter((kernels @ self.weight.double()).to(self.weight.dtype))
        self.mask_bias = nn.Parameter((kernels @ self.bias.double() + bias).to(self.weight.dtype))

    def forward(self, x: torch.Tensor, all_stages: bool = False) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """x (B, A, H, W) -> [(class_logits (B, N, C+1), mask_logits (B, N, H, W))] of the last stage.

        Raises:
            ValueError: all stages are requested, as in training; this decoder is for inference.
        """
        if all_stages:
            raise ValueError("expected a network in evaluation mode: this decoder has the last stage only")
        height, width = x.shape[-2:]
        x = x.flatten(2)
        kernels = self.kernels.expand(x.shape[0], -1, -1)
        mask_logits = self.mask_kernels @ x + self.mask_bias[:, None]
        for index, stage in enumerate(self.stages):
            inside = (mask_logits > 0).to(x.dtype)
            value = torch.bmm(inside, x.transpose(1, 2)) @ self.weight.t() + inside.sum(2, keepdim=True) * self.bias
            kernels, class_logits, mask_kernels = stage.refine(kernels, value, index == len(self.stages) - 1)
            mask_logits = torch.bmm(mask_kernels @ self.weight, x) + (mask_kernels @ self.bias)[..., None]
        return [(class_logits / self.temperature, mask_logits.unflatten(-1, (height, width)))]
