# SPDX-License-Identifier: Apache-2.0
"""Dynamic rank-1 convolution (section 3.1) and the upsampling that is aligned with strided convolutions (section 3.3).

Legend: `B` batch, `C` channels, `h w` map.
"""

import torch
from torch import nn
from torch.nn import functional


class DR1Conv(nn.Module):
    """Y = Conv(X * A) * B (Eq. 4): at every place the kernel is the static one times the outer product of b and a.

    B is taken at the centre of the kernel, as Eq. 4 does; Eq. 3 takes it at the neighbour, inside the sum, which is
    another operation for kernels larger than 1x1. The paper implements Eq. 4.

    Args:
        channels: `C`, of input and output.
        kernel_size: odd.
    """

    def __init__(self, channels: int, kernel_size: int = 3):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: torch.Tensor, a: torch.Tensor | None = None, b: torch.Tensor | None = None) -> torch.Tensor:
        """x, a, b: (B, C, h, w) -> (B, C, h, w); a factor that is None is left out (Tables 1 and 2)."""
        y = self.conv(x if a is None else x * a)
        return y if b is None else y * b


def aligned_upsample(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Twice the size, such that place k of `x` lies at place 2k of the result; places between are means of neighbours.

    A convolution of stride 2 with padding has its place k at place 2k of its input, whatever the size, so this keeps
    levels aligned for sides that are no multiples of anything. What lies past the right and bottom is cropped.

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
    """Bilinear to a size, without regard to alignment: the other choice of Table 5."""
    return functional.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


UPSAMPLINGS = {"aligned": aligned_upsample, "bilinear": resize}


class DR1Block(nn.Module):
    """DR1Conv, batch normalisation, ReLU.

    The factors come between convolution and normalisation, so that their scale does not matter at the start.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.dr1conv = DR1Conv(channels, 3)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """As of `DR1Conv`."""
        return torch.relu(self.norm(self.dr1conv(x, a, b)))
