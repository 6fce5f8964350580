# SPDX-License-Identifier: Apache-2.0
"""What every network offers to the engines, the trainer and the export.

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

    A subclass sets the attributes and defines `forward_features` and `forward_head`; nothing outside its own rooms
    knows more of it than this.

    Attributes:
        Outputs: NamedTuple class of batch-first tensors of fixed rank. Its fields name the outputs of an ONNX graph and
            of every engine, in this order.
        size_divisor: of the sides of the input.
        feature_modules: names of the child modules that may run in half precision or int8; all others stay in float32.

    Args:
        config: a `ModelConfig`.
    """

    Outputs: type[NamedTuple]
    size_divisor = 32
    feature_modules: tuple[str, ...] = ("backbone", "neck")

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        # In the model, so that an exported graph cannot forget them; not in the state dict, as in the checkpoints.
        self.register_buffer("pixel_mean", torch.tensor(config.pixel_mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(config.pixel_std).view(1, 3, 1, 1), persistent=False)

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        """RGB 0..255 to what the backbone takes: (B, 3, H, W)."""
        return (images - self.pixel_mean) / self.pixel_std

    def forward_features(self, images: torch.Tensor) -> Any:
        """Normalised images (B, 3, H, W) to features: a tensor, or a tuple of tensors. Uses `feature_modules` only."""
        raise NotImplementedError

    def forward_head(self, features: Any) -> Any:
        """Float32 features to `Outputs`; in training mode to what the network's criterion takes."""
        raise NotImplementedError

    def forward(self, images: torch.Tensor) -> Any:
        """Run the network on a batch.

        Args:
            images: float (B, 3, H, W), RGB 0..255, H and W multiples of `size_divisor`; padding right and bottom holds
                `pixel_mean`, which is zero after normalisation.

        Returns:
            `Outputs`; in training mode what the criterion takes.
        """
        height, width = images.shape[-2:]
        if height % self.size_divisor or width % self.size_divisor:
            raise ValueError(
                f"expected images (B, 3, H, W) with H and W multiples of {self.size_divisor}, "
                f"found {tuple(images.shape)}"
            )
        return self.forward_head(self.forward_features(self.normalize(images)))

    def reparameterize(self) -> "PanopticNetwork":
        """A copy for inference with equal outputs and less work; here every batch normalisation is folded.

        A network that has more to fold overrides this and begins with what it returns.
        """
        return fold_batch_norms(self)

    def adapt_state_dict(self, state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Weights of an equal form of this network (see `reparameterize`) in the form of this one; others unchanged."""
        return state_dict


def check_state_dict(
    model: nn.Module, state_dict: dict[str, torch.Tensor], origin: dict[str, str] | None = None
) -> None:
    """Raise `InputError` naming every key of `state_dict` that does not fit `model`.

    Args:
        model: any module.
        state_dict: key to tensor.
        origin: key to the name it had in the file, for the message.
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
