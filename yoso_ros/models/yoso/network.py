# SPDX-License-Identifier: Apache-2.0
"""The YOSO network: backbone, feature pyramid aggregator, separable dynamic decoder.

Legend: `B` batch, `N` proposals, `C` classes, `H W` input size (multiples of 32).
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import nn

from yoso_ros.label_sets import LabelSet
from yoso_ros.models.backbone import create_backbone
from yoso_ros.models.yoso.aggregator import FeaturePyramidAggregator
from yoso_ros.models.yoso.decoder import SeparableDynamicDecoder


@dataclass(frozen=True, kw_only=True)
class YosoConfig:
    """Everything that shapes a YOSO model and its inference; a YAML file in config/models has these keys.

    The defaults are the authors' for ResNet-50 (facts/yoso.md); `*_threshold`, sizes and `temperature` differ by data
    set. The paper's knobs: `num_attention_blocks` N (Table 7), `kernel_size` t (Table 8), `num_stages` T (Table 9),
    `num_proposals` n (Table 10), `aggregation` (Table 5), `attention` (Table 6).
    """

    name: str
    architecture: Literal["yoso"] = "yoso"
    label_set: LabelSet
    backbone: Literal["resnet18", "resnet34", "resnet50", "mobilenet_v2"] = "resnet50"
    backbone_norm: Literal["frozen_batch_norm", "batch_norm"] = "frozen_batch_norm"
    pyramid_channels: tuple[int, ...] = (128, 256, 512, 1024)
    aggregator_channels: int = 128
    aggregation: Literal["cfa", "ifa"] = "cfa"
    hidden_dim: int = 256
    ffn_dim: int = 2048
    num_proposals: int = 100
    attention: Literal["sdca", "dca", "ddca", "pdca", "mhca"] = "sdca"
    kernel_size: int = 3
    num_attention_blocks: int = 2
    num_stages: int = 2
    num_class_layers: int = 1
    num_mask_layers: int = 1
    temperature: float = 0.05
    score_threshold: float = 0.7
    overlap_threshold: float = 0.8
    shortest_edge: int = 800
    longest_edge: int = 1333
    pixel_mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, ...] = (58.395, 57.12, 57.375)

    @property
    def num_classes(self):
        """Classes without "no object"."""
        return len(self.label_set)


class YosoOutputs(NamedTuple):
    """Raw outputs. In training `stages` holds (class_logits or None, mask_logits) of stage 0 to T, else it is None."""

    class_logits: torch.Tensor  # (B, N, C+1), divided by the temperature; the last class is "no object"
    mask_logits: torch.Tensor  # (B, N, H/4, W/4)
    stages: list | None = None


class Yoso(nn.Module):
    """You Only Segment Once (CVPR 2023).

    Args:
        config: a `YosoConfig`.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.backbone = create_backbone(config.backbone, config.backbone_norm)
        self.neck = FeaturePyramidAggregator(
            backbone_channels=self.backbone.channels,
            pyramid_channels=config.pyramid_channels,
            aggregator_channels=config.aggregator_channels,
            hidden_dim=config.hidden_dim,
            form=config.aggregation,
        )
        self.decoder = SeparableDynamicDecoder(config)
        # In the model, so that an exported graph cannot forget them; not in the state dict, as in the checkpoints.
        self.register_buffer("pixel_mean", torch.tensor(config.pixel_mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(config.pixel_std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images):
        """Segment a batch.

        Args:
            images: float (B, 3, H, W), RGB 0..255, H and W multiples of 32; padding right and bottom must hold
                `pixel_mean`, which is zero after normalisation (what the authors pad with).

        Returns:
            `YosoOutputs`.
        """
        height, width = images.shape[-2:]
        if height % 32 or width % 32:
            raise ValueError(f"expected images (B, 3, H, W) with H and W multiples of 32, found {tuple(images.shape)}")
        features = self.neck(self.backbone((images - self.pixel_mean) / self.pixel_std))
        stages = self.decoder(features, all_stages=self.training)
        return YosoOutputs(*stages[-1], stages if self.training else None)
