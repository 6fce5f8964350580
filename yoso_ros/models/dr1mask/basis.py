# SPDX-License-Identifier: Apache-2.0
"""DR1Basis (section 3.2.2): the bottom-up branch that merges pyramid and context into the segmentation features.

Legend: `B` batch, `D` width, `H W` input size.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from yoso_ros.models.dr1mask.dr1conv import UPSAMPLINGS, DR1Block

OUTPUT_STRIDE = 4


class DR1Basis(nn.Module):
    """F_l = DR1Conv(Conv3x3(P_l) + up2(F_{l+1})) from P7 to P3 (Eq. 6), and F_3 once more upsampled, to stride 4.

    Args:
        in_channels: of the pyramid.
        width: `D`.
        levels: of the pyramid.
        use_a, use_b: whether each dynamic factor is used (Tables 1 and 2).
        upsampling: "aligned" or "bilinear" (Table 5).
    """

    def __init__(
        self,
        *,
        in_channels: int,
        width: int,
        levels: int = 5,
        use_a: bool = True,
        use_b: bool = True,
        upsampling: str = "aligned",
    ):
        super().__init__()
        self.reductions = nn.ModuleList(nn.Sequential(*_reduction(in_channels, width)) for _ in range(levels))
        self.blocks = nn.ModuleList(DR1Block(width) for _ in range(levels))
        self.use_a, self.use_b, self.upsample = use_a, use_b, UPSAMPLINGS[upsampling]

    def forward(self, pyramid: Sequence[torch.Tensor], contexts: Sequence[Any], size: tuple[int, int]) -> torch.Tensor:
        """Segmentation features.

        Args:
            pyramid: P3..P7, each (B, in_channels, h, w).
            contexts: C3..C7, each (B, n D, h, w): A and B, or the one in use; None without either.
            size: (H/4, W/4).

        Returns:
            (B, D, H/4, W/4).
        """
        features: Any = None
        for level in reversed(range(len(pyramid))):
            x = self.reductions[level](pyramid[level])
            if features is not None:
                x = x + self.upsample(features, x.shape[-2:])
            features = self.blocks[level](x, *self._factors(contexts, level))
        return self.upsample(features, size)

    def _factors(self, contexts, level):
        if contexts is None:
            return None, None
        parts = iter(contexts[level].chunk(self.use_a + self.use_b, 1))
        return next(parts) if self.use_a else None, next(parts) if self.use_b else None


def _reduction(in_channels, width):
    return nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
