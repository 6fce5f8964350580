# SPDX-License-Identifier: Apache-2.0
"""The DR1Mask network: FCOS, a top layer for contexts and embeddings, DR1Basis, and for panoptic maps a static layer.

Legend: `B` batch, `T` thing classes, `S` stuff classes, `C` classes, `D` width of the basis, `E` embedding dimensions,
`K` attended maps, `R` rank and `A` side of an attention, `L` locations of all levels, `H W` input size; H/8 is rounded
up and H/4 is twice that. Boxes are x1 y1 x2 y2 in pixels of the network input.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import nn

from yoso_ros.configuration import check_ranges
from yoso_ros.errors import InputError
from yoso_ros.models.backbone import create_backbone
from yoso_ros.models.config import NOT_IN_GRAPH, ModelConfig
from yoso_ros.models.dr1mask.basis import OUTPUT_STRIDE, DR1Basis
from yoso_ros.models.fcos import STRIDES, LevelOutputs, Towers, flatten_levels, initialize_head, offsets_to_boxes
from yoso_ros.models.fpn import FeaturePyramid
from yoso_ros.models.network import PanopticNetwork

ATTENDED, RANK, ATTENTION_SIDE = 4, 4, 14  # K, R and A of section 3.2.3; K and A are BlendMask's


@dataclass(frozen=True, kw_only=True)
class Dr1MaskConfig(ModelConfig):
    """The configuration of a DR1Mask model and its inference; a YAML file in config/models has these keys.

    `mode` is what the network is trained for: panoptic maps (section 3.3), or instances alone, with masks computed in
    crops. `use_a`, `use_b` are the switches of Tables 1 and 2, `context_position` that of Table 3, `attention` that of
    Tables 4 and 7 (the paper's best: factored for instances, vector for panoptic maps), `divisibility` and `upsampling`
    those of Table 5, `basis_width` that of Table 6. A box is a candidate if class times centerness exceeds
    `class_threshold`; its score is the square root of that, and boxes with at least `score_threshold` enter the
    panoptic map. `overlap_threshold` is the share of its mask that an instance must get.
    """

    architecture: Literal["dr1mask"] = "dr1mask"
    mode: Literal["panoptic", "instance"] = "panoptic"
    attention: Literal["vector", "full", "factored"] = "vector"
    pyramid_channels: int = 256
    tower_channels: int = 256
    tower_depth: int = 4
    offset_form: Literal["relu", "exponential"] = "relu"
    basis_width: int = 64
    use_a: bool = True
    use_b: bool = True
    context_position: Literal["box_tower", "class_tower", "fpn"] = "box_tower"
    divisibility: Literal[4, 32, 128] = 4
    upsampling: Literal["aligned", "bilinear"] = "aligned"
    class_threshold: float = field(default=0.05, metadata=NOT_IN_GRAPH)
    pre_nms_top_n: int = field(default=1000, metadata=NOT_IN_GRAPH)
    nms_threshold: float = field(default=0.6, metadata=NOT_IN_GRAPH)
    max_boxes: int = field(default=100, metadata=NOT_IN_GRAPH)
    score_threshold: float = field(default=0.45, metadata=NOT_IN_GRAPH)
    overlap_threshold: float = field(default=0.4, metadata=NOT_IN_GRAPH)
    stuff_area_limit: int = field(default=4096, metadata=NOT_IN_GRAPH)

    def __post_init__(self):
        super().__post_init__()
        counts = ("pyramid_channels", "tower_channels", "tower_depth", "basis_width", "pre_nms_top_n", "max_boxes")
        check_ranges(self, dict.fromkeys(counts, (1, None)))
        check_ranges(self, {"class_threshold": (0.0, 1.0), "nms_threshold": (0.0, 1.0), "stuff_area_limit": (0, None)})
        if self.mode == "panoptic" and self.attention == "full":
            raise InputError(
                "attention: expected vector or factored in mode panoptic, found 'full', whose few maps carry no stuff"
            )

    @property
    def embedding_size(self) -> int:
        """`E`: one weight per map of the basis; a full attention; or a projection and the factors of an attention."""
        return {
            "vector": self.basis_width,
            "full": ATTENDED * ATTENTION_SIDE**2,
            "factored": ATTENDED * (self.basis_width + RANK),
        }[self.attention]


class Dr1MaskOutputs(NamedTuple):
    """Raw outputs: all locations of all levels, P3 first, row by row, and the two maps used to compute masks."""

    box_scores: torch.Tensor  # (B, L, T), class probabilities
    boxes: torch.Tensor  # (B, L, 4), not clipped
    centerness: torch.Tensor  # (B, L), probabilities
    embeddings: torch.Tensor  # (B, L, E); with vectors they are thing weights of the unified layer
    basis: torch.Tensor  # (B, D, H/4, W/4)
    stuff_logits: torch.Tensor  # (B, S, H/4, W/4)


class Dr1MaskFactoredOutputs(NamedTuple):
    """`Dr1MaskOutputs` with the components shared by all factored attentions."""

    box_scores: torch.Tensor
    boxes: torch.Tensor
    centerness: torch.Tensor
    embeddings: torch.Tensor
    basis: torch.Tensor
    stuff_logits: torch.Tensor
    attention_components: torch.Tensor  # (B, 2, K, R, A), rows of U and V of Eq. 8


class Dr1MaskInstanceOutputs(NamedTuple):
    """`Dr1MaskOutputs` without stuff; with full attentions the basis has K maps."""

    box_scores: torch.Tensor
    boxes: torch.Tensor
    centerness: torch.Tensor
    embeddings: torch.Tensor
    basis: torch.Tensor


class Dr1MaskFactoredInstanceOutputs(NamedTuple):
    """`Dr1MaskFactoredOutputs` without stuff."""

    box_scores: torch.Tensor
    boxes: torch.Tensor
    centerness: torch.Tensor
    embeddings: torch.Tensor
    basis: torch.Tensor
    attention_components: torch.Tensor


OUTPUTS = {  # (mode, whether the attention is factored)
    ("panoptic", False): Dr1MaskOutputs,
    ("panoptic", True): Dr1MaskFactoredOutputs,
    ("instance", False): Dr1MaskInstanceOutputs,
    ("instance", True): Dr1MaskFactoredInstanceOutputs,
}


class Predictions(NamedTuple):
    """The input of the criterion; offsets are left, top, right, bottom in pixels."""

    class_logits: torch.Tensor  # (B, L, T)
    offsets: torch.Tensor  # (B, L, 4)
    centerness_logits: torch.Tensor  # (B, L)
    embeddings: torch.Tensor  # (B, L, E)
    basis: torch.Tensor  # (B, D, H/4, W/4)
    stuff_logits: torch.Tensor | None  # (B, S, H/4, W/4); None in mode instance
    attention_components: torch.Tensor | None  # (B, 2, K, R, A); None without factored attentions
    semantic_logits: torch.Tensor  # (B, C, H/8, W/8), of the auxiliary branch on P3


class Dr1Mask(PanopticNetwork):
    """DR1Mask for panoptic maps or for instances. In training mode it returns `Predictions`.

    Args:
        config: a `Dr1MaskConfig`.

    Raises:
        InputError: the label set lacks things, or in mode panoptic stuff.
    """

    Outputs = Dr1MaskOutputs  # for the paper's panoptic form; an instance has those of its configuration
    size_divisor = OUTPUT_STRIDE
    feature_modules = ("backbone", "neck", "towers")

    def __init__(self, config: Dr1MaskConfig):
        super().__init__(config)
        things, classes = len(config.label_set.thing_ids), config.num_classes
        panoptic, factored = config.mode == "panoptic", config.attention == "factored"
        if not 0 < things <= classes - panoptic:
            wanted = "things and stuff" if panoptic else "things"
            raise InputError(f"dr1mask needs a label set with {wanted}, found {things} things of {classes}")
        self.size_divisor, self.Outputs = config.divisibility, OUTPUTS[config.mode, factored]
        channels, tower = config.pyramid_channels, config.tower_channels
        self.backbone = create_backbone(config.backbone, config.backbone_norm)
        self.neck = FeaturePyramid(in_channels=self.backbone.channels[1:], channels=channels)
        self.towers = Towers(in_channels=channels, class_channels=tower, box_channels=tower, depth=config.tower_depth)
        self.levels = LevelOutputs(
            num_classes=things,
            class_channels=tower,
            box_channels=tower,
            offset_form=config.offset_form,
            scales=config.offset_form == "exponential",
        )
        width, factors = config.basis_width, config.use_a + config.use_b
        # Two convolutions in place of one whose result is split: the context may have another input (Table 3).
        self.embedding_layer = nn.Conv2d(tower, config.embedding_size, 3, padding=1)
        self.context_layer = None
        initialize_head(self.embedding_layer)
        if factors:
            source = channels if config.context_position == "fpn" else tower
            self.context_layer = nn.Conv2d(source, factors * width, 3, padding=1)
            initialize_head(self.context_layer)
            # a fresh network begins with the static convolutions
            nn.init.ones_(self.context_layer.bias)  # type: ignore[arg-type]
        self.basis = DR1Basis(
            in_channels=channels, width=width, use_a=config.use_a, use_b=config.use_b, upsampling=config.upsampling
        )
        self.stuff_layer = nn.Conv2d(width, classes - things, 1, bias=False) if panoptic else None
        # BlendMask has only a few maps; here they are computed from the basis, which has the same width as elsewhere.
        self.attended_layer = nn.Conv2d(width, ATTENDED, 1) if config.attention == "full" else None
        self.attention_components = nn.Parameter(_initial_components()) if factored else None
        if factored:
            nn.init.ones_(self.embedding_layer.bias[ATTENDED * width :].data)
        self.auxiliary = nn.Sequential(*_block(channels, 128), *_block(128, 128), nn.Conv2d(128, classes, 1))

    def forward_features(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Normalised images (B, 3, H, W) -> P3..P7, then class features and box features of each."""
        pyramid = self.neck(self.backbone(images)[1:])
        class_features, box_features = self.towers(pyramid)
        return *pyramid, *class_features, *box_features

    def forward_head(self, features: tuple[torch.Tensor, ...]) -> NamedTuple:
        """Features -> the `Outputs` of the configuration, in training mode `Predictions`."""
        number = len(STRIDES)
        pyramid, class_features, box_features = (features[i : i + number] for i in range(0, 3 * number, number))
        levels = self.levels(class_features, box_features)
        embeddings = flatten_levels([self.embedding_layer(x) for x in box_features])
        basis = self._basis(pyramid, {"fpn": pyramid, "class_tower": class_features, "box_tower": box_features})
        stuff = components = None
        if self.stuff_layer is not None:
            stuff = self.stuff_layer(basis)
        if self.attended_layer is not None:
            basis = self.attended_layer(basis)
        if self.attention_components is not None:
            # A sum with zeros of the batch: of an output that no input reaches, exporters lose the batch axis.
            components = self.attention_components + 0.0 * basis[:, :1, :1, :1, None]
        class_logits = flatten_levels([level.class_logits for level in levels])
        centerness = flatten_levels([level.centerness_logits for level in levels])[..., 0]
        offsets = [level.offsets for level in levels]
        if self.training:
            flat, auxiliary = flatten_levels(offsets), self.auxiliary(pyramid[0])
            return Predictions(class_logits, flat, centerness, embeddings, basis, stuff, components, auxiliary)
        boxes = flatten_levels(list(map(offsets_to_boxes, offsets, STRIDES)))
        found = class_logits.sigmoid(), boxes, centerness.sigmoid(), embeddings, basis, stuff, components
        return self.Outputs(*(tensor for tensor in found if tensor is not None))

    def _basis(self, pyramid, sources):
        contexts = None
        if self.context_layer is not None:
            contexts = [self.context_layer(x) for x in sources[self.config.context_position]]
        height, width = pyramid[0].shape[-2:]
        return self.basis(pyramid, contexts, (2 * height, 2 * width))


def _initial_components():
    # With factors of 1 a fresh attention is even and its other components are small: vector attention, nearly.
    components = torch.randn(2, ATTENDED, RANK, ATTENTION_SIDE) / 4
    components[:, :, 0] = 1.0
    return components


def _block(in_channels, channels):
    return nn.Conv2d(in_channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
