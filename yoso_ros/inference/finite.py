# SPDX-License-Identifier: Apache-2.0
"""Outputs of a network that are no numbers: a frame fails with them, instead of an answer that looks well."""

import torch

from yoso_ros.errors import InputError


def are_finite(outputs):
    """Whether all outputs are finite: bool tensor () on their device, not waited for.

    By their sums, which costs a quarter of looking at every number: what is not finite stays so in a sum.

    Args:
        outputs: float tensors; others are passed over.
    """
    return torch.stack([o.sum(dtype=torch.float32) for o in outputs if o.is_floating_point()]).isfinite().all()


def not_finite_error(backend):
    """The `InputError` of a frame whose outputs are not finite."""
    return InputError(
        f"the network's outputs are not finite in {backend}: its weights are damaged or diverged in training, or its "
        "precision is too low for them; try precision fp32, or other weights"
    )
