# SPDX-License-Identifier: Apache-2.0
"""Feature pyramid of the dense detectors: C3, C4, C5 of a backbone to P3..P7 of equal width.

Legend: `B` batch, `D` channels of the pyramid; Pl has stride 2^l, its sides are those of Cl, and from P6 on half of the
previous level, rounded up.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class FeaturePyramid(nn.Module):
    """Top-down pyramid with nearest resizing (FPN, CVPR 2017), and P6 and P7 by convolutions of stride 2.

    The top-down path resizes to the size of the finer map, so sides need not be multiples of anything. P6 is computed
    from P5, not from C5, and reaches the heads without an activation.

    Args:
        in_channels: channels of C3, C4, C5.
        channels: `D`.
        relu_before_p7: whether P7 is computed from relu(P6) (RealTimePan, RetinaNet) or from P6 itself.
    """

    def __init__(self, *, in_channels: Sequence[int], channels: int = 256, relu_before_p7: bool = True):
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in in_channels)
        self.outputs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels)
        self.p6 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.relu_before_p7 = relu_before_p7
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, features: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """C3, C4, C5 (finest first) to the tuple P3..P7, each (B, D, h, w)."""
        maps = [lateral(x) for lateral, x in zip(self.laterals, features, strict=True)]
        for finer in reversed(range(len(maps) - 1)):
            size = maps[finer].shape[-2:]
            maps[finer] = maps[finer] + functional.interpolate(maps[finer + 1], size=size, mode="nearest")
        pyramid = [output(x) for output, x in zip(self.outputs, maps, strict=True)]
        p6 = self.p6(pyramid[-1])
        p7 = self.p7(functional.relu(p6) if self.relu_before_p7 else p6)
        return *pyramid, p6, p7
