# SPDX-License-Identifier: Apache-2.0
"""Normalisation layers shared by the networks."""

import torch
from torch import nn

BATCH_NORM_EPS = 1e-5  # facts: detectron2 and torchvision use the same


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation with fixed statistics and affine parameters (no num_batches_tracked in the state dict).

    Args:
        num_features: channels `C` of the (B, C, H, W) input.
        eps: added to the variance; 0 in the detectors of torchvision before 2020.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, num_features: int, eps: float = BATCH_NORM_EPS):
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )


# Under torchrun the trainer turns "batch_norm" into SyncBatchNorm; the keys are the same.
NORMS = {"batch_norm": nn.BatchNorm2d, "frozen_batch_norm": FrozenBatchNorm2d}
