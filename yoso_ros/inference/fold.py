# SPDX-License-Identifier: Apache-2.0
"""Networks with less work and equal outputs in evaluation mode: normalisation and location convolution folded away,
transposed convolutions as plain ones.

Legend: `B` batch, `N` proposals, `D` hidden, `A` channels of the map before the location convolution; `H W` stride 4.
"""

import copy

import torch
import torch.nn.functional as F
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


def replace_transposed_convolutions(network):
    """Replace each stride-2 transposed convolution of a folded network by a `SubpixelUpsample`; changes the network."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ConvTranspose2d):
                setattr(parent, name, SubpixelUpsample(child).eval().requires_grad_(False))


class SubpixelUpsample(nn.Module):
    """A transposed convolution (kernel 4, stride 2, padding 1) as a 2x2 convolution of as many multiplications.

    Each of the four pixels that a pixel becomes depends on 2x2 pixels. A 2x2 convolution with a border of zeros
    computes all four, with the channels of one after those of the other; depth to space interleaves them, and without
    its outermost lines that is the result. For libraries that run convolutions faster than transposed ones.

    Args:
        transposed: the `ConvTranspose2d` with its bias.

    Raises:
        ValueError: it has another kernel, stride or padding.
    """

    def __init__(self, transposed):
        super().__init__()
        shape = (transposed.kernel_size, transposed.stride, transposed.padding, transposed.output_padding)
        if shape != ((4, 4), (2, 2), (1, 1), (0, 0)) or transposed.groups != 1:
            raise ValueError(f"expected a convolution with kernel 4, stride 2, padding 1, found {transposed}")
        # Along one axis, output 2 i - 1 + s takes its pixels i - 1 and i with the taps 2 + s and s of the kernel.
        taps = torch.tensor([[2, 0], [3, 1]])
        weight = transposed.weight[:, :, taps[:, None, :, None], taps[None, :, None, :]]  # (I, O, s, s, 2, 2)
        self.weight = nn.Parameter(weight.permute(2, 3, 1, 0, 4, 5).flatten(0, 2).contiguous())
        self.bias = nn.Parameter(transposed.bias.repeat(4))

    def forward(self, x):
        """x (B, I, h, w) -> (B, O, 2h, 2w)."""
        return depth_to_space(F.conv2d(x, self.weight, self.bias, padding=1))[:, :, 1:-1, 1:-1]


@torch.library.custom_op("yoso_ros::depth_to_space", mutates_args=())
def depth_to_space(x: torch.Tensor) -> torch.Tensor:
    """(B, 4 C, h, w) -> (B, C, 2h, 2w): the first C channels are the upper left pixels, the next the upper right ones.

    An operator of its own, because what it is made of takes several times as long in an engine that has it.
    """
    return _depth_to_space(x)


@depth_to_space.register_fake
def _depth_to_space(x):
    return F.pixel_shuffle(x.unflatten(1, (4, -1)).transpose(1, 2).flatten(1, 2), 2)
