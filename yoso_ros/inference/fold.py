# SPDX-License-Identifier: Apache-2.0
"""Networks with less work and equal outputs in evaluation mode: normalisation and location convolution folded away.

Legend: `B` batch, `N` proposals, `D` hidden, `A` channels of the map before the location convolution; `H W` stride 4.
"""

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from yoso_ros.models.layers import BATCH_NORM_EPS, FrozenBatchNorm2d


def fold_batch_norms(model):
    """A copy of a network in which every normalised convolution carries its batch normalisation.

    A pair is a `Conv2d` or `ConvTranspose2d` and the normalisation that its parent module registers right after it,
    which is how all networks of this package are written (tested over every configuration).

    Args:
        model: module; it stays as it is.

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


def fold_location(network):
    """Replace the location convolution and the decoder of a network by a `ProjectedDecoder`; changes the network."""
    network.decoder = ProjectedDecoder(network.neck.location_conv, network.decoder).eval().requires_grad_(False)
    network.neck.location_conv = nn.Identity()


class ProjectedDecoder(nn.Module):
    """A decoder that works on the map before the location convolution, which has half as many channels.

    The convolution is 1x1 and linear, features = W x + b, and the decoder uses the features in products only. So a sum
    of features over a mask is W (sum of x) + area b, and kernels times features are (kernels W) x + kernels b: half the
    work in the five products over the map, which are nine tenths of the decoder's, and no convolution.

    Args:
        location: 1x1 convolution A -> D.
        decoder: a `SeparableDynamicDecoder`.
    """

    def __init__(self, location, decoder):
        super().__init__()
        self.temperature, self.stages = decoder.temperature, decoder.stages
        self.weight = nn.Parameter(location.weight.flatten(1))
        self.bias = nn.Parameter(location.bias)
        self.kernels = nn.Parameter(decoder.kernels.weight.flatten(1))
        # In float64, rounded once.
        kernels, bias = self.kernels.double(), decoder.kernels.bias.double()
        self.mask_kernels = nn.Parameter((kernels @ self.weight.double()).to(self.weight.dtype))
        self.mask_bias = nn.Parameter((kernels @ self.bias.double() + bias).to(self.weight.dtype))

    def forward(self, x, all_stages=False):
        """x (B, A, H, W) -> [(class_logits (B, N, C+1), mask_logits (B, N, H, W))], those of the last stage.

        Raises:
            ValueError: all stages are asked for, which is for training; this decoder is for inference.
        """
        if all_stages:
            raise ValueError("expected a network in evaluation mode: this decoder has the last stage only")
        height, width = x.shape[-2:]
        x = x.flatten(2)
        kernels = self.kernels.expand(x.shape[0], -1, -1)
        mask_logits = self.mask_kernels @ x + self.mask_bias[:, None]
        for index, stage in enumerate(self.stages):
            inside = (mask_logits > 0).to(x.dtype)
            value = torch.bmm(inside, x.transpose(1, 2)) @ self.weight.t() + inside.sum(2, keepdim=True) * self.bias
            kernels, class_logits, mask_kernels = stage.refine(kernels, value, index == len(self.stages) - 1)
            mask_logits = torch.bmm(mask_kernels @ self.weight, x) + (mask_kernels @ self.bias)[..., None]
        return [(class_logits / self.temperature, mask_logits.unflatten(-1, (height, width)))]
