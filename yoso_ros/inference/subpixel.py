# SPDX-License-Identifier: Apache-2.0
"""Transposed convolutions as ordinary ones, for libraries that run those faster; the outputs are equal."""

import torch
import torch.nn.functional as F
from torch import library, nn


def replace_transposed_convolutions(network):
    """Replace the stride-2 transposed convolutions of kernel 4 of a folded network, which is changed."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ConvTranspose2d) and child.kernel_size == (4, 4):
                setattr(parent, name, SubpixelUpsample(child).eval().requires_grad_(False))


class SubpixelUpsample(nn.Module):
    """A transposed convolution (kernel 4, stride 2, padding 1) as a 2x2 convolution with as many multiplications.

    Each of the four output pixels per input pixel depends on 2x2 input pixels. A 2x2 convolution with zero padding
    computes all four, one group of channels after the other; depth to space interleaves them, and cropping the
    outermost rows and columns gives the result. For libraries that run convolutions faster than transposed ones.

    Args:
        transposed: the `ConvTranspose2d` with its bias.

    Raises:
        ValueError: it has a different kernel, stride or padding.
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


@library.custom_op("yoso_ros::depth_to_space", mutates_args=())
def depth_to_space(x: torch.Tensor) -> torch.Tensor:
    """(B, 4 C, h, w) -> (B, C, 2h, 2w): the first C channels are the upper left pixels, the next the upper right ones.

    A separate operator, because in engines that provide it, its decomposition takes several times as long.
    """
    return _depth_to_space(x)


@depth_to_space.register_fake
def _depth_to_space(x):
    return F.pixel_shuffle(x.unflatten(1, (4, -1)).transpose(1, 2).flatten(1, 2), 2)
