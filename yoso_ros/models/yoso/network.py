# SPDX-License-Identifier: Apache-2.0
"""The YOSO network: backbone, feature pyramid aggregator, separable dynamic decoder.

Legend: `B` batch, `N` proposals, `C` classes, `H W` input size (multiples of 32).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from yoso_ros.configuration import check_ranges
from yoso_ros.models.backbone import create_backbone
from yoso_ros.models.config import ModelConfig
from yoso_ros.models.network import PanopticNetwork
from yoso_ros.models.yoso.aggregator import FeaturePyramidAggregator, convert_aggregation
from yoso_ros.models.yoso.decoder import SeparableDynamicDecoder
from yoso_ros.models.yoso.projected_decoder import ProjectedDecoder


@dataclass(frozen=True, kw_only=True)
class YosoConfig(ModelConfig):
    """The configuration of a YOSO model; a YAML file in config/models has these keys.

    The defaults are those of the authors' configuration for ResNet-50 and COCO; `temperature`, thresholds and sizes
    differ by data set. The paper's knobs: `num_attention_blocks` N (Table 7), `kernel_size` t (Table 8), `num_stages` T
    (Table 9), `num_proposals` n (Table 10), `aggregation` (Table 5), `attention` (Table 6).
    """

    architecture: Literal["yoso"] = "yoso"
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

    def __post_init__(self):
        super().__post_init__()
        counts = ("aggregator_channels", "hidden_dim", "ffn_dim", "num_proposals", "num_attention_blocks", "num_stages")
        check_ranges(self, {"temperature": (1e-6, 1e6), **dict.fromkeys((*counts, "kernel_size"), (1, None))})
        check_ranges(self, dict.fromkeys(("num_class_layers", "num_mask_layers"), (0, None)))


class YosoOutputs(NamedTuple):
    """Raw outputs of YOSO and of every other mask classification network."""

    class_logits: torch.Tensor  # (B, N, C+1), divided by the temperature; the last class is "no object"
    mask_logits: torch.Tensor  # (B, N, H/4, W/4)


class Yoso(PanopticNetwork):
    """You Only Segment Once (CVPR 2023).

    In training mode it returns [(class_logits or None, mask_logits)] of stage 0 to T.

    Args:
        config: a `YosoConfig`.
    """

    Outputs = YosoOutputs
    config: YosoConfig

    def __init__(self, config: YosoConfig):
        super().__init__(config)
        self.backbone = create_backbone(config.backbone, config.backbone_norm)
        self.neck = FeaturePyramidAggregator(
            backbone_channels=self.backbone.channels,
            pyramid_channels=config.pyramid_channels,
            aggregator_channels=config.aggregator_channels,
            hidden_dim=config.hidden_dim,
            form=config.aggregation,
        )
        self.decoder = SeparableDynamicDecoder(config)

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images (B, 3, H, W) -> map with coordinates (B, D, H/4, W/4)."""
        return self.neck(self.backbone(images))

    def forward_head(self, features: torch.Tensor) -> list[tuple[Any, ...]] | YosoOutputs:
        """(B, D, H/4, W/4) -> `YosoOutputs`, in training mode the outputs of all stages."""
        stages = self.decoder(features, all_stages=self.training)
        return stages if self.training else YosoOutputs(*stages[-1])

    def reparameterize(self) -> Any:
        """Batch norms folded, aggregation convolution-first (section 3.2), location convolution in the decoder."""
        network: Any = super().reparameterize()
        if self.config.aggregation == "ifa":
            network.neck.aggregation = network.neck.aggregation.to_convolution_first().requires_grad_(False)
        network.decoder = ProjectedDecoder(network.neck.location_conv, network.decoder).eval().requires_grad_(False)
        network.neck.location_conv = nn.Identity()
        return network

    def adapt_state_dict(self, state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Interpolation-first weights for a convolution-first network, or vice versa; exactly equivalent."""
        return convert_aggregation(state_dict, self.config.aggregation)
