# SPDX-License-Identifier: Apache-2.0
"""The RealTimePan network: backbone, pyramid P3 to P7, two towers, and the head that predicts dense boxes.

Legend: `B` batch, `T` thing classes, `C` classes, `L` locations of all levels, `S` boxes per pixel (1, or 5 without
levelness), `H W` input size. Boxes are x1 y1 x2 y2, offsets left, top, right, bottom, in pixels of the network input.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch

from yoso_ros.models.backbone import create_backbone
from yoso_ros.models.config import NOT_IN_GRAPH, ModelConfig
from yoso_ros.models.fcos import STRIDES, Towers, flatten_levels, offsets_to_boxes
from yoso_ros.models.fpn import FeaturePyramid
from yoso_ros.models.layers import BATCH_NORM_EPS
from yoso_ros.models.network import PanopticNetwork
from yoso_ros.models.realtimepan.head import Predictions, UnifiedPanopticHead, dense_boxes


@dataclass(frozen=True, kw_only=True)
class RealTimePanConfig(ModelConfig):
    """The configuration of a RealTimePan model and its inference; a YAML file in config/models has these keys.

    The defaults are those of the authors' code for ResNet-50. `two_towers` and `levelness` are the switches of Table 3.
    `class_threshold` applies to the class probability alone, before NMS; `score_threshold` to class times centerness of
    the instances that enter the panoptic map. `overlap_threshold` is the share of its mask that an instance must get.
    `location_score` measures whether a pixel lies in a box: "iou" (Eq. 6), or "giou_smoothed" as in the authors' code.
    """

    architecture: Literal["realtimepan"] = "realtimepan"
    batch_norm_eps: float = BATCH_NORM_EPS
    pyramid_channels: int = 256
    class_channels: int = 128
    box_channels: int = 256
    tower_depth: int = 4
    two_towers: bool = True
    levelness: bool = True
    class_threshold: float = field(default=0.05, metadata=NOT_IN_GRAPH)
    pre_nms_top_n: int = field(default=1000, metadata=NOT_IN_GRAPH)
    nms_threshold: float = field(default=0.6, metadata=NOT_IN_GRAPH)
    class_agnostic_nms_threshold: float = field(default=0.97, metadata=NOT_IN_GRAPH)
    max_boxes: int = field(default=100, metadata=NOT_IN_GRAPH)
    location_score: Literal["giou_smoothed", "iou"] = field(default="giou_smoothed", metadata=NOT_IN_GRAPH)
    mask_threshold: float = field(default=0.4, metadata=NOT_IN_GRAPH)
    score_threshold: float = field(default=0.3, metadata=NOT_IN_GRAPH)
    overlap_threshold: float = field(default=0.5, metadata=NOT_IN_GRAPH)
    stuff_area_limit: int = field(default=4096, metadata=NOT_IN_GRAPH)


class RealTimePanOutputs(NamedTuple):
    """Raw outputs: all locations of all levels, P3 first, row by row, and the two maps used to compute masks."""

    box_scores: torch.Tensor  # (B, L, T), class probabilities
    boxes: torch.Tensor  # (B, L, 4), not clipped
    centerness: torch.Tensor  # (B, L), probabilities
    dense_boxes: torch.Tensor  # (B, 4 S, H/4, W/4), a box for every pixel at stride 4, not clipped
    semantic_logits: torch.Tensor  # (B, C, H/8, W/8)


class RealTimePan(PanopticNetwork):
    """Real-Time Panoptic Segmentation from Dense Detections (CVPR 2020). In training mode it returns `Predictions`.

    Args:
        config: a `RealTimePanConfig`.
    """

    Outputs = RealTimePanOutputs
    feature_modules = ("backbone", "neck", "towers")

    def __init__(self, config: RealTimePanConfig):
        super().__init__(config)
        self.backbone = create_backbone(config.backbone, config.backbone_norm, config.batch_norm_eps)
        self.neck = FeaturePyramid(in_channels=self.backbone.channels[1:], channels=config.pyramid_channels)
        self.towers = Towers(
            in_channels=config.pyramid_channels,
            class_channels=config.class_channels,
            box_channels=config.box_channels,
            depth=config.tower_depth,
            two_towers=config.two_towers,
        )
        self.head = UnifiedPanopticHead(
            num_classes=config.num_classes,
            num_things=len(config.label_set.thing_ids),
            class_channels=self.towers.class_channels,
            box_channels=self.towers.box_channels,
            levelness=config.levelness,
        )

    def forward_features(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Normalised images (B, 3, H, W) -> class features of P3..P7, then box features of P3..P7."""
        class_features, box_features = self.towers(self.neck(self.backbone(images)[1:]))
        return *class_features, *box_features

    def forward_head(self, features: tuple[torch.Tensor, ...]) -> RealTimePanOutputs | Predictions:
        """Features -> `RealTimePanOutputs`, in training mode `Predictions`."""
        levels = len(features) // 2
        predictions = self.head(features[:levels], features[levels:])
        return predictions if self.training else outputs_of(predictions)

    def predictions(self, images: torch.Tensor) -> Predictions:
        """The input of the criterion, for images as in `forward`; the sides need not be multiples of anything."""
        features = self.forward_features(self.normalize(images))
        levels = len(features) // 2
        return self.head(features[:levels], features[levels:])


def outputs_of(predictions: Predictions) -> RealTimePanOutputs:
    """The dense tensors that the fusion takes, from `Predictions`."""
    return RealTimePanOutputs(
        flatten_levels(predictions.box_class_logits).sigmoid(),
        flatten_levels(list(map(offsets_to_boxes, predictions.box_offsets, STRIDES))),
        flatten_levels(predictions.centerness_logits)[..., 0].sigmoid(),
        dense_boxes(predictions.box_offsets, predictions.levelness_logits, predictions.dense_size),
        predictions.semantic_logits,
    )
