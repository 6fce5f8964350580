# SPDX-License-Identifier: Apache-2.0
"""The authors' released checkpoints: their keys to this package's keys."""

import re
from typing import Any

import torch

from yoso_ros.errors import InputError
from yoso_ros.models.network import check_state_dict
from yoso_ros.models.yoso.aggregator import convert_aggregation

# In this order; every official key is rewritten by all rules that match.
_RULES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^backbone\.stem\.conv1\.norm\.", "backbone.bn1."),
        (r"^backbone\.stem\.conv1\.", "backbone.conv1."),
        (r"^backbone\.res2\.", "backbone.layer1."),
        (r"^backbone\.res3\.", "backbone.layer2."),
        (r"^backbone\.res4\.", "backbone.layer3."),
        (r"^backbone\.res5\.", "backbone.layer4."),
        (r"\.conv(\d)\.norm\.", r".bn\1."),
        (r"\.shortcut\.norm\.", ".downsample.1."),
        (r"\.shortcut\.", ".downsample.0."),
        (r"^yoso_neck\.loc_conv\.", "neck.location_conv."),
        (r"^yoso_neck\.deconv\.bias$", "neck.aggregation.bias"),
        (r"^yoso_neck\.deconv\.output_conv\.", "neck.output_conv."),
        # Their laterals and deformable layers count from the deepest level, ours from P2.
        (r"^yoso_neck\.deconv\.lateral_conv(\d)\.", lambda m: f"neck.pyramid.laterals.{3 - int(m[1])}."),
        (r"^yoso_neck\.deconv\.deform_conv(\d)\.", lambda m: f"neck.pyramid.upsamples.{3 - int(m[1])}."),
        (r"^yoso_neck\.deconv\.conv_a(\d)\.", lambda m: f"neck.aggregation.convs.{int(m[1]) - 2}."),
        (r"\.dcn_offset\.", ".offset."),
        (r"\.dcn\.", ".deform."),
        (r"\.dcn_bn\.", ".deform_norm."),
        (r"\.up_sample\.", ".upsample."),
        (r"\.up_bn\.", ".upsample_norm."),
        (r"^yoso_head\.kernels\.", "decoder.kernels."),
        (r"^yoso_head\.mask_heads\.", "decoder.stages."),
        (r"\.f_atten\.", ".blocks.0.attention."),
        (r"\.k_atten\.", ".blocks.1.attention."),
        (r"\.f_atten_norm\.", ".blocks.0.norm."),
        (r"\.k_atten_norm\.", ".blocks.1.norm."),
        (r"\.weight_linear\.", ".kernel_generator."),
        (r"\.s_atten\.", ".self_attention."),
        (r"\.s_atten_norm\.", ".self_attention_norm."),
        (r"\.ffn\.layers\.0\.0\.", ".ffn.0."),
        (r"\.ffn\.layers\.1\.", ".ffn.2."),
        (r"\.cls_fcs\.", ".class_branch."),
        (r"\.mask_fcs\.", ".mask_branch."),
        (r"\.fc_cls\.", ".class_predictor."),
        (r"\.fc_mask\.", ".mask_predictor."),
    )
)
# The criterion's class weights are in the authors' state dict although they are not weights of the network.
CRITERION_KEY = "yoso_head.criterion.empty_weight"


def package_key(official_key: str) -> str:
    """This package's name of an official key."""
    for pattern, replacement in _RULES:
        official_key = pattern.sub(replacement, official_key)
    return official_key


def convert_official_state_dict(state_dict: dict[str, torch.Tensor], num_classes: int) -> dict[str, torch.Tensor]:
    """Rename the authors' keys; the criterion's class weights are checked against `num_classes` and dropped."""
    if CRITERION_KEY not in state_dict:
        raise InputError(f"not an official YOSO state dict: the key {CRITERION_KEY} is missing")
    found = tuple(state_dict[CRITERION_KEY].shape)
    if found != (num_classes + 1,):
        raise InputError(f"{CRITERION_KEY}: expected shape ({num_classes + 1},) for this model, found {found}")
    return {package_key(k): v for k, v in state_dict.items() if k != CRITERION_KEY}


def is_official_state_dict(state_dict: dict[str, torch.Tensor]) -> bool:
    """Whether the keys are those of the authors' files."""
    return CRITERION_KEY in state_dict


def load_official_state_dict(model: Any, state_dict: dict[str, torch.Tensor]) -> None:
    """Load the authors' state dict (key `model` of a released .pth, or the bare dict) into a `Yoso`, strictly.

    Args:
        model: a `Yoso` of the matching configuration; with `aggregation: ifa` the CFA weights are re-parameterised.
        state_dict: official key to tensor.

    Raises:
        InputError: keys are missing, unexpected, or of another shape; the message lists them.
    """
    state_dict = state_dict.get("model", state_dict)
    converted = convert_aggregation(
        convert_official_state_dict(state_dict, model.config.num_classes), model.config.aggregation
    )
    check_state_dict(model, converted, {package_key(k): k for k in state_dict})
    model.load_state_dict({k: torch.as_tensor(v) for k, v in converted.items()})
