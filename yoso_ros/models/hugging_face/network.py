# SPDX-License-Identifier: Apache-2.0
"""Networks from transformers behind this package's network interface.

Legend: `B` batch, `N` queries, `C` classes, `H W` input size.
"""

from typing import Any, NamedTuple

import torch

from yoso_ros.errors import InputError
from yoso_ros.models.hugging_face.config import HuggingFaceConfig
from yoso_ros.models.hugging_face.families import split
from yoso_ros.models.network import PanopticNetwork


class HuggingFaceOutputs(NamedTuple):
    """Raw outputs of mask classification."""

    class_logits: torch.Tensor  # (B, N, C+1); the last class is "no object"
    mask_logits: torch.Tensor  # (B, N, H/4, W/4)


class HuggingFaceNetwork(PanopticNetwork):
    """A universal segmentation model: its image encoder and everything after it.

    Args:
        config: a `HuggingFaceConfig`.
    """

    Outputs = HuggingFaceOutputs
    feature_modules = ("backbone",)

    config: HuggingFaceConfig

    def __init__(self, config: HuggingFaceConfig):
        super().__init__(config)
        self.size_divisor = config.size_divisor
        self.features_are_transformer = "resnet" not in config.backbone
        self.take(create_transformers_model(config.network))

    def take(self, model: Any) -> None:
        """Use the modules of a transformers model."""
        self.backbone, self.head = split(model, self.config.task_tokens)

    def forward_features(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Normalised images (B, 3, H, W) -> feature maps, or the tokens of a plain transformer."""
        return self.backbone(images)

    def forward_head(self, features: tuple[torch.Tensor, ...]) -> HuggingFaceOutputs:
        """Features -> `HuggingFaceOutputs`."""
        return HuggingFaceOutputs(*self.head(features))


def create_transformers_model(network: dict[str, Any]) -> Any:
    """A transformers model with random weights.

    Args:
        network: the contents of a checkpoint's config.json.

    Raises:
        InputError: the package is missing, or cannot build this network.
    """
    transformers = import_transformers()
    network = {**network, "use_pretrained_backbone": False}
    try:
        config = transformers.CONFIG_MAPPING[network["model_type"]].from_dict(network)
        return transformers.AutoModelForUniversalSegmentation.from_config(config, trust_remote_code=False)
    except (ImportError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"transformers cannot build this {network.get('model_type')}: {' '.join(str(error).split())[:300]}"
        ) from error


def import_transformers() -> Any:
    """The package transformers.

    Raises:
        InputError: it is not installed.
    """
    try:
        import huggingface_hub

        # Loaded before transformers, which asks for its parts in an order that makes it write of errors.
        huggingface_hub.snapshot_download  # noqa: B018
        import transformers
    except ImportError as error:
        raise InputError(f"models of the hub need transformers: pip install yoso-ros[hub] ({error})") from error
    return transformers
