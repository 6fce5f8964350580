# SPDX-License-Identifier: Apache-2.0
"""The interface of every network to the engines, the trainer and the export.

Legend: `B` batch, `H W` input size, a multiple of the network's `size_divisor`.
"""

from typing import Any, NamedTuple

import torch
from torch import nn

from yoso_ros.errors import InputError
from yoso_ros.models.config import ModelConfig
from yoso_ros.models.fold import fold_batch_norms


class PanopticNetwork(nn.Module):
    """Base of all networks: images in, `Outputs` out.

    A subclass sets the attributes and defines `forward_features` and `forward_head`; code outside its own packages uses
    nothing else.

    Attributes:
        Outputs: NamedTuple class of batch-first tensors of fixed rank. Its fields name the outputs of an ONNX graph and
            of every engine, in this order.
        size_divisor: must divide the sides of the input.
        feature_modules: names of the child modules that may run in half precision or int8; all others stay in float32.
        features_are_transformer: they are a transformer, whose activations int8 has to treat in its own way.

    Args:
        config: a `ModelConfig`.
    """

    Outputs: type[NamedTuple]
    size_divisor = 32
    feature_modules: tuple[str, ...] = ("backbone", "neck")
    features_are_transformer = False

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        # In the model, so that an export always includes them; not in the state dict, as in the checkpoints.
        self.register_buffer("pixel_mean", torch.tensor(config.pixel_mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(config.pixel_std).view(1, 3, 1, 1), persistent=False)

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        """RGB 0..255 to the input of the backbone: (B, 3, H, W)."""
        return (images - self.pixel_mean) / self.pixel_std

    def forward_features(self, images: torch.Tensor) -> Any:
        """Normalised images (B, 3, H, W) to features, a tensor or a tuple of tensors, using only `feature_modules`."""
        raise NotImplementedError

    def forward_head(self, features: Any) -> Any:
        """Float32 features to `Outputs`; in training mode to the input of the network's criterion."""
        raise NotImplementedError

    def forward(self, images: torch.Tensor) -> Any:
        """Run the network on a batch.

        Args:
            images: float (B, 3, H, W), RGB 0..255, H and W multiples of `size_divisor`; the padding at the right and
                bottom is `pixel_mean`, which is zero after normalisation.

        Returns:
            `Outputs`; in training mode the input of the criterion.
        """
        height, width = images.shape[-2:]
        if height % self.size_divisor or width % self.size_divisor:
            raise ValueError(
                f"expected images (B, 3, H, W) with H and W multiples of {self.size_divisor}, "
                f"found {tuple(images.shape)}"
            )
        return self.forward_head(self.forward_features(self.normalize(images)))

    def reparameterize(self) -> "PanopticNetwork":
        """A copy for inference with equal outputs and less work; the base class folds every batch normalisation.

        A network that has more to fold overrides this and starts from the result.
        """
        return fold_batch_norms(self)

    def adapt_state_dict(self, state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Convert weights of an equivalent form (see `reparameterize`) to the form of this network, if needed."""
        return state_dict


def check_state_dict(
    model: nn.Module, state_dict: dict[str, torch.Tensor], origin: dict[str, str] | None = None
) -> None:
    """Raise `InputError` listing every key of `state_dict` that does not fit `model`.

    Args:
        model: any module.
        state_dict: key to tensor.
        origin: key to its name in the file, for the message.
    """
    own, origin = model.state_dict(), origin or {}
    faults = [f"missing {key}" for key in own if key not in state_dict]
    faults += [f"unexpected {origin.get(key, key)}" for key in state_dict if key not in own]
    faults += [
        f"{origin.get(key, key)}: expected shape {tuple(own[key].shape)}, found {tuple(state_dict[key].shape)}"
        for key in own
        if key in state_dict and tuple(own[key].shape) != tuple(state_dict[key].shape)
    ]
    if faults:
        raise InputError(f"{len(faults)} keys do not fit the model: {'; '.join(faults)}")
