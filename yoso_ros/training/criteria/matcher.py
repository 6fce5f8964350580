# SPDX-License-Identifier: Apache-2.0
"""Bipartite matching of proposals and targets, with the costs of the YOSO authors' code."""

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment

from yoso_ros.training.criteria.mask_losses import sample_points


@torch.no_grad()
def match(class_logits, mask_logits, labels, masks, *, num_points, class_weight, mask_weight, dice_weight):
    """Match the proposals of one image with its targets at minimum total cost.

    Args:
        class_logits: (N, C+1), or None if the stage has no classes.
        mask_logits: (N, h, w).
        labels: int64 (n,) target classes.
        masks: (n, H, W) target masks in the padded frame, bool or float.
        num_points: size of the random point set shared by all masks of the image.

    Returns:
        (proposal indices ascending, target indices): two int64 tensors (min(N, n),) on the CPU.
    """
    # Also drawn for an image without objects, so that random numbers do not depend on the data.
    points = torch.rand(1, num_points, 2, device=mask_logits.device)
    if not len(labels):
        return torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
    logits = sample_points(mask_logits.float(), points)
    targets = sample_points(masks.float(), points)
    positive = F.softplus(-logits) @ targets.t()
    negative = F.softplus(logits) @ (1 - targets).t()
    cost = mask_weight * (positive + negative) / num_points
    probabilities = logits.sigmoid()
    overlap = 2 * probabilities @ targets.t() + 1
    sizes = probabilities.sum(1, keepdim=True) + targets.sum(1) + 1
    cost = cost + dice_weight * (1 - overlap / sizes)
    if class_logits is not None:
        cost = cost - class_weight * class_logits.float().softmax(-1)[:, labels]
    # A network that has diverged must fail in the loss, where the trainer reports the cause, not here.
    proposals, chosen = linear_sum_assignment(cost.nan_to_num().cpu().numpy())
    return torch.from_numpy(proposals), torch.from_numpy(chosen)
