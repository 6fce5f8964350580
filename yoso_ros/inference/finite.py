# SPDX-License-Identifier: Apache-2.0
"""Check for non-finite network outputs: the frame fails instead of giving a plausible-looking answer."""

import torch

from yoso_ros.errors import InputError


def are_finite(outputs):
    """Whether all outputs are finite: bool tensor () on their device, without synchronisation.

    Checks the sums, because non-finite values propagate to them; this costs a quarter of checking every value.

    Args:
        outputs: float tensors; others are ignored.
    """
    return torch.stack([o.sum(dtype=torch.float32) for o in outputs if o.is_floating_point()]).isfinite().all()


def not_finite_error(backend):
    """The `InputError` for a frame whose outputs are not finite."""
    return InputError(
        f"the network's outputs are not finite in {backend}: its weights are damaged or diverged in training, or its "
        "precision is too low for them; try precision fp32, or other weights"
    )
