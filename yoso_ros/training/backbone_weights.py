# SPDX-License-Identifier: Apache-2.0
"""Loading ImageNet weights into a backbone: torchvision's key names, without the classifier."""

from pathlib import Path

import torch

from yoso_ros.checkpoint import read_torch_file
from yoso_ros.errors import InputError
from yoso_ros.models.backbone import create_backbone

# The standard deviation by which ImageNet weights expect their input to be divided (RGB, 0..255).
IMAGENET_STD = (58.395, 57.12, 57.375)


def load_backbone_weights(backbone, path, pixel_std=IMAGENET_STD):
    """Load a torchvision ResNet or MobileNetV2 state dict into a backbone.

    Keys of the classifier and of layers that the trunk does not have are ignored; every key of the trunk must be
    present. If the network divides its input by a different standard deviation, the first convolution is scaled to
    compensate.

    Args:
        backbone: from `yoso_ros.models.backbone.create_backbone`.
        path: `.pth` file, read with weights_only (no code from the file is executed).
        pixel_std: what the network divides RGB by.

    Raises:
        InputError: the file cannot be read, or keys are missing or have another shape; the message names them.
    """
    path = Path(path)
    state_dict = read_torch_file(path)
    own = backbone.state_dict()
    faults = [
        f"{key} (expected {tuple(value.shape)}, found {tuple(state_dict[key].shape) if key in state_dict else 'none'})"
        for key, value in own.items()
        if not key.endswith("num_batches_tracked") and (key not in state_dict or state_dict[key].shape != value.shape)
    ]
    if faults:
        raise InputError(
            f"{path} does not fit the backbone: {', '.join(faults[:5])} and {max(0, len(faults) - 5)} more"
        )
    backbone.load_state_dict({key: state_dict.get(key, value) for key, value in own.items()})
    first = next(module for module in backbone.modules() if isinstance(module, torch.nn.Conv2d))
    with torch.no_grad():
        first.weight *= (torch.tensor(pixel_std) / torch.tensor(IMAGENET_STD)).view(1, 3, 1, 1)


def check_backbone_weights(name, path):
    """Raise `InputError` if a file does not contain the weights of the backbone `name`."""
    load_backbone_weights(create_backbone(name, "batch_norm"), path)
