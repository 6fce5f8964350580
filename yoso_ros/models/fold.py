# SPDX-License-Identifier: Apache-2.0
"""Folding of batch normalisation into the preceding convolutions, for inference."""

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from yoso_ros.models.layers import BATCH_NORM_EPS, FrozenBatchNorm2d


def fold_batch_norms(model: Any) -> Any:
    """A copy of a network in which batch normalisations are folded into their convolutions.

    A pair is a `Conv2d` or `ConvTranspose2d` and the normalisation that its parent module registers right after it,
    which is how all networks of this package are written (tested for every configuration).

    Args:
        model: module; it is not changed.

    Returns:
        module in evaluation mode, without gradients.
    """
    model = copy.deepcopy(model).eval().requires_grad_(False)
    for parent in list(model.modules()):
        children = list(parent.named_children())
        for (_, conv), (name, norm) in zip(children, children[1:], strict=False):
            if isinstance(conv, (nn.Conv2d, nn.ConvTranspose2d)) and isinstance(
                norm, (nn.BatchNorm2d, FrozenBatchNorm2d)
            ):
                _fold(conv, norm)
                setattr(parent, name, nn.Identity())
    return model


def _fold(conv, norm):
    if norm.running_mean.shape != (conv.out_channels,):
        raise ValueError(f"expected a normalisation of {conv.out_channels} channels after {conv}, found {norm}")
    eps = getattr(norm, "eps", BATCH_NORM_EPS)
    transposed = isinstance(conv, nn.ConvTranspose2d)
    # In float64, rounded once.
    statistics = (norm.running_mean.double(), norm.running_var.double(), eps, norm.weight.double(), norm.bias.double())
    bias = None if conv.bias is None else conv.bias.double()
    with torch.no_grad():
        weight, bias = fuse_conv_bn_weights(conv.weight.double(), bias, *statistics, transpose=transposed)
    dtype = conv.weight.dtype
    conv.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    conv.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
