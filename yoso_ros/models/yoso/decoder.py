# SPDX-License-Identifier: Apache-2.0
"""Separable dynamic decoder (paper section 3.3): proposal kernels to panoptic kernels in T stages.

Legend: `B` batch, `N` proposals, `D` hidden, `C` classes, `T` stages, `H W` stride-4 map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from yoso_ros.models.yoso.attention import ATTENTIONS, init_linear, pool_masked_features

if TYPE_CHECKING:
    from yoso_ros.models.yoso.network import YosoConfig

SELF_ATTENTION_HEADS = 8
# log(0.01 / 0.99): the authors' bias of every class logit; void has it too, so it cancels in a softmax.
CLASS_BIAS = -4.595


class AttentionBlock(nn.Module):
    """Cross-attention with residual on the value: value <- LN(value + attention(query, value))."""

    def __init__(self, attention: str, dim: int, num_proposals: int, kernel_size: int):
        super().__init__()
        self.attention = ATTENTIONS[attention](dim, num_proposals, kernel_size)
        self.norm = nn.LayerNorm(dim)

    def forward(self, query: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return self.norm(value + self.attention(query, value))


def _branch(dim, layers):
    """Linear (no bias), LayerNorm, ReLU, repeated `layers` times."""
    modules = []
    for _ in range(layers):
        modules += [nn.Linear(dim, dim, bias=False), nn.LayerNorm(dim), nn.ReLU(inplace=True)]
    return nn.Sequential(*modules)


class DecoderStage(nn.Module):
    """One refinement of the kernels by the masks they produce.

    Args:
        config: a `YosoConfig`.
    """

    def __init__(self, config: YosoConfig):
        super().__init__()
        dim, num_proposals = config.hidden_dim, config.num_proposals
        self.blocks = nn.ModuleList(
            AttentionBlock(config.attention, dim, num_proposals, config.kernel_size)
            for _ in range(config.num_attention_blocks)
        )
        self.self_attention = nn.MultiheadAttention(dim, SELF_ATTENTION_HEADS, batch_first=True)
        self.self_attention_norm = nn.LayerNorm(dim)
        self.ffn = nn.Sequential(nn.Linear(dim, config.ffn_dim), nn.ReLU(inplace=True), nn.Linear(config.ffn_dim, dim))
        self.ffn_norm = nn.LayerNorm(dim)
        self.class_branch = _branch(dim, config.num_class_layers)
        self.class_predictor = nn.Linear(dim, config.num_classes + 1)
        self.mask_branch = _branch(dim, config.num_mask_layers)
        self.mask_predictor = nn.Linear(dim, dim)
        self.apply(init_linear)
        nn.init.constant_(self.class_predictor.bias, CLASS_BIAS)

    def forward(
        self, kernels: torch.Tensor, mask_logits: torch.Tensor, features: torch.Tensor, with_classes: bool = True
    ) -> tuple[Any, ...]:
        """kernels (B, N, D), mask_logits (B, N, H, W), features (B, D, H, W) -> kernels, class and mask logits.

        The class logits are None unless requested, and are not divided by the temperature.
        """
        value = pool_masked_features(mask_logits, features)
        kernels, class_logits, mask_kernels = self.refine(kernels, value, with_classes)
        height, width = features.shape[-2:]
        mask_logits = torch.bmm(mask_kernels, features.flatten(2)).unflatten(-1, (height, width))
        return kernels, class_logits, mask_logits

    def refine(self, kernels: torch.Tensor, value: torch.Tensor, with_classes: bool = True) -> tuple[Any, ...]:
        """The part without maps: kernels and pooled features (B, N, D) -> kernels, class logits, mask kernels."""
        for block in self.blocks:
            # The query of every block is the stage's own input; only the value is refined.
            value = block(kernels, value)
        kernels = value
        attended = self.self_attention(kernels, kernels, kernels, need_weights=False)[0]
        kernels = self.self_attention_norm(kernels + attended)
        kernels = self.ffn_norm(kernels + self.ffn(kernels))
        class_logits = self.class_predictor(self.class_branch(kernels)) if with_classes else None
        return kernels, class_logits, self.mask_predictor(self.mask_branch(kernels))


class SeparableDynamicDecoder(nn.Module):
    """Stage 0 (the learned proposal kernels) and T refinement stages with their own weights.

    Args:
        config: a `YosoConfig`.
    """

    def __init__(self, config: YosoConfig):
        super().__init__()
        self.temperature = config.temperature
        self.kernels = nn.Conv2d(config.hidden_dim, config.num_proposals, 1)
        self.stages = nn.ModuleList(DecoderStage(config) for _ in range(config.num_stages))

    def forward(self, features: torch.Tensor, all_stages: bool = False) -> list[tuple[Any, ...]]:
        """features (B, D, H, W) -> list of (class_logits (B, N, C+1) or None, mask_logits (B, N, H, W)), T + 1 long.

        Class logits are divided by the temperature. Stage 0 has none; without `all_stages` only the last one has.
        """
        mask_logits = self.kernels(features)
        kernels = self.kernels.weight.flatten(1).expand(features.shape[0], -1, -1)
        outputs = [(None, mask_logits)]
        for index, stage in enumerate(self.stages):
            with_classes = all_stages or index == len(self.stages) - 1
            kernels, class_logits, mask_logits = stage(kernels, mask_logits, features, with_classes)
            outputs.append((None if class_logits is None else class_logits / self.temperature, mask_logits))
        return outputs
