# SPDX-License-Identifier: Apache-2.0
"""The five attention modules of Table 6, all (query, value) -> output with a layer norm at the end.

Legend: `B` batch, `N` proposals, `D` hidden, `t` kernel size. query, value, output: (B, N, D). The value rows are
treated as N channels of length D, and the kernels are predicted from the query (paper equations 6 to 9).
"""

import torch
import torch.nn.functional as F
from torch import nn


def _depthwise(value, kernels):
    """One kernel per row, along the features: value (B, N, D), kernels (B, N, t), zero padding t // 2 -> (B, N, D)."""
    size, length = kernels.shape[-1], value.shape[-1]
    padded = F.pad(value, (size // 2, size // 2))
    # A sum of t shifted products: grouped conv1d with batch * N groups is slower and cannot be exported.
    return sum(padded[..., q : q + length] * kernels[..., q : q + 1] for q in range(size))


class SeparableDynamicConvAttention(nn.Module):
    """SDCA (equation 9): depthwise along the features, ReLU, then pointwise over the proposals."""

    def __init__(self, dim: int, num_proposals: int, kernel_size: int):
        super().__init__()
        self.sizes = (kernel_size, num_proposals)
        self.kernel_generator = nn.Linear(dim, sum(self.sizes))
        self.norm = nn.LayerNorm(dim)

    def forward(self, query: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        depthwise, pointwise = self.kernel_generator(query).split(self.sizes, dim=-1)
        return self.norm(pointwise @ F.relu(_depthwise(value, depthwise)))


class DynamicConvAttention(nn.Module):
    """DCA (equation 8): one dense dynamic convolution with kernels (N, N, t)."""

    def __init__(self, dim: int, num_proposals: int, kernel_size: int):
        super().__init__()
        self.num_proposals, self.kernel_size = num_proposals, kernel_size
        self.kernel_generator = nn.Linear(dim, num_proposals * kernel_size)
        self.norm = nn.LayerNorm(dim)

    def forward(self, query: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        kernels = self.kernel_generator(query).unflatten(-1, (self.num_proposals, self.kernel_size))
        size, length = self.kernel_size, value.shape[-1]
        padded = F.pad(value, (size // 2, size // 2))
        return self.norm(sum(kernels[..., q] @ padded[..., q : q + length] for q in range(size)))


class DepthwiseDynamicConvAttention(nn.Module):
    """DDCA: only the depthwise half of SDCA."""

    def __init__(self, dim: int, num_proposals: int, kernel_size: int):
        super().__init__()
        self.kernel_generator = nn.Linear(dim, kernel_size)
        self.norm = nn.LayerNorm(dim)

    def forward(self, query: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return self.norm(_depthwise(value, self.kernel_generator(query)))


class PointwiseDynamicConvAttention(nn.Module):
    """PDCA: only the pointwise half of SDCA."""

    def __init__(self, dim: int, num_proposals: int, kernel_size: int):
        super().__init__()
        self.kernel_generator = nn.Linear(dim, num_proposals)
        self.norm = nn.LayerNorm(dim)

    def forward(self, query: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return self.norm(self.kernel_generator(query) @ value)


class MultiHeadCrossAttention(nn.Module):
    """MHCA (equations 4 and 5): the baseline, 8 heads."""

    HEADS = 8

    def __init__(self, dim: int, num_proposals: int, kernel_size: int):
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, self.HEADS, batch_first=True)
        self.norm = nn.LayerNorm(dim)

    def forward(self, query: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return self.norm(self.attention(query, value, value, need_weights=False)[0])


ATTENTIONS = {
    "sdca": SeparableDynamicConvAttention,
    "dca": DynamicConvAttention,
    "ddca": DepthwiseDynamicConvAttention,
    "pdca": PointwiseDynamicConvAttention,
    "mhca": MultiHeadCrossAttention,
}


def init_linear(module: nn.Module) -> None:
    """The authors' initialisation of the decoder: linear layers with truncated normal 0.02 and zero bias."""
    if isinstance(module, nn.Linear) and not isinstance(module, nn.modules.linear.NonDynamicallyQuantizableLinear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def pool_masked_features(mask_logits: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Pre-attention (equation 3): sum of the features under each hard mask.

    Args:
        mask_logits: (B, N, H, W); no gradient flows through the hard mask.
        features: (B, D, H, W).

    Returns:
        (B, N, D); zero for an empty mask.
    """
    hard = (mask_logits.detach().sigmoid() > 0.5).to(features.dtype)
    return torch.bmm(hard.flatten(2), features.flatten(2).transpose(1, 2))
