# SPDX-License-Identifier: Apache-2.0
"""The authors' released checkpoint: its keys to this package's keys.

Their network takes BGR, 0..255 minus a mean, with unit variance; ours takes RGB, so the input channels of the first
convolution are reversed. Their batch norms have no eps (`batch_norm_eps: 0.0` in the configuration).
"""

import re
from typing import Any

import torch

from yoso_ros.models.network import check_state_dict

_PREFIXES = (
    ("backbone.body.", "backbone."),
    ("backbone.fpn.inner_blocks.", "neck.laterals."),
    ("backbone.fpn.layer_blocks.", "neck.outputs."),
    ("backbone.fpn.extra_blocks.", "neck."),
    ("panoptic_head.cls_tower.", "towers.class_tower."),
    ("panoptic_head.bbox_tower.", "towers.box_tower."),
    ("panoptic_head.box_cls_logits.", "head.levels.class_output."),  # of the boxes
    ("panoptic_head.cls_logits.", "head.semantic_output."),  # of the pixels, whatever its name says
    ("panoptic_head.bbox_pred.", "head.levels.box_output."),
    ("panoptic_head.centerness.", "head.levels.centerness_output."),
    ("panoptic_head.scales.", "head.levels.scales."),
    ("panoptic_head.levelness.", "head.levelness_output."),
)
_FIRST_CONVOLUTION = "backbone.conv1.weight"
# torchvision 0.13 and later: the convolutions of its pyramid are one module deeper.
_DEEPER_PYRAMID = re.compile(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.0\.")
OWN_KEY = "panoptic_head.box_cls_logits.weight"  # no other network's file has it


def package_key(official_key: str) -> str:
    """This package's name of an official key."""
    official_key = _DEEPER_PYRAMID.sub(r"\1.", official_key)
    for official, own in _PREFIXES:
        if official_key.startswith(official):
            return own + official_key.removeprefix(official)
    return official_key


def is_official_state_dict(state_dict: dict[str, torch.Tensor]) -> bool:
    """Whether a state dict has the authors' keys."""
    return OWN_KEY in state_dict


def convert_official_state_dict(state_dict: dict[str, torch.Tensor], *, bgr: bool = True) -> dict[str, torch.Tensor]:
    """Rename the authors' keys; with `bgr` the weights take BGR, and the first convolution is reversed for RGB."""
    converted = {package_key(k): torch.as_tensor(v) for k, v in state_dict.items()}
    if bgr and _FIRST_CONVOLUTION in converted:
        converted[_FIRST_CONVOLUTION] = converted[_FIRST_CONVOLUTION].flip(1)
    return converted


def load_official_state_dict(model: Any, state_dict: dict[str, torch.Tensor], *, bgr: bool = True) -> None:
    """Load the authors' state dict into a `RealTimePan`, strictly.

    Args:
        model: a `RealTimePan` of the matching configuration (`realtimepan_r50_cityscapes` for the released file).
        state_dict: official key to tensor.
        bgr: whether the weights take BGR, as the released ones do.

    Raises:
        InputError: keys are missing, unexpected, or of another shape; the message lists them.
    """
    converted = convert_official_state_dict(state_dict, bgr=bgr)
    check_state_dict(model, converted, {package_key(k): k for k in state_dict})
    model.load_state_dict(converted)
