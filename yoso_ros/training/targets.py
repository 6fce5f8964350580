# SPDX-License-Identifier: Apache-2.0
"""The targets of one image, the same for every network; a criterion derives from them whatever else it needs."""

from typing import NamedTuple

import torch


class Target(NamedTuple):
    """Labels int64 (n,), class ids of the label set; masks (n, H, W), bool, zero-padded to the padded image."""

    labels: torch.Tensor
    masks: torch.Tensor
