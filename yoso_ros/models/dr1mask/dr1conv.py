# SPDX-License-Identifier: Apache-2.0
"""Dynamic rank-1 convolution (section 3.1) and the upsampling that is aligned with strided convolutions (section 3.3).

Legend: `B` batch, `C` channels, `h w` map.
"""

import torch
from torch import nn
from torch.nn import functional


class DR1Conv(nn.Module):
    """Y = Conv(X * A) * B (Eq. 4): at each position the kernel is the static one times the outer product of b and a.

    B is taken at the centre of the kernel, as in Eq. 4; Eq. 3 takes it at the neighbour, inside the sum, which is a
    different operation for kernels larger than 1x1. The paper implements Eq. 4.

    Args:
        channels: `C`, of input and output.
        kernel_size: odd.
    """

    def __init__(self, channels: int, kernel_size: int = 3):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: torch.Tensor, a: torch.Tensor | None = None, b: torch.Tensor | None = None) -> torch.Tensor:
        """x, a, b: (B, C, h, w) -> (B, C, h, w); a factor that is None is omitted (Tables 1 and 2)."""
        y = self.conv(x if a is None else x * a)
        return y if b is None else y * b


def aligned_upsample(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Upsample by two, with position k of `x` at position 2k of the result; those in between are means of neighbours.

    A padded convolution of stride 2 has its position k at position 2k of its input, whatever the size, so this keeps
    levels aligned for arbitrary sides. Anything beyond the right and bottom is cropped.

    Args:
        x: (B, C, h, w).
        size: (height, width), at most (2h, 2w).

    Returns:
        (B, C, height, width).
    """
    height, width = x.shape[-2:]
    x = functional.pad(x, (0, 1, 0, 1), mode="replicate")
    x = functional.interpolate(x, size=(2 * height + 1, 2 * width + 1), mode="bilinear", align_corners=True)
    return x[..., : size[0], : size[1]]


def resize(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear upsampling to a size, regardless of alignment: the other option in Table 5."""
    return functional.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


UPSAMPLINGS = {"aligned": aligned_upsample, "bilinear": resize}


class DR1Block(nn.Module):
    """DR1Conv, batch normalisation, ReLU.

    The factors are applied between convolution and normalisation, so that their scale does not matter initially.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.dr1conv = DR1Conv(channels, 3)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """As in `DR1Conv`."""
        return torch.relu(self.norm(self.dr1conv(x, a, b)))
