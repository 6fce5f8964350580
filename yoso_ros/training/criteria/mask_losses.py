# SPDX-License-Identifier: Apache-2.0
"""Mask losses on sampled points, as in the YOSO authors' code.

Legend: `M` masks, `P` points, point coordinates (x, y) in 0..1 over the padded frame, `h w` any map size.
"""

import torch
import torch.nn.functional as F


def sample_points(maps, points):
    """Bilinear values of maps at points: maps (M, h, w), points (M or 1, P, 2) -> (M, P); zero outside the map."""
    points = points.expand(maps.shape[0], -1, -1)
    grid = 2.0 * points.unsqueeze(2) - 1.0
    values = F.grid_sample(maps.unsqueeze(1), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return values[:, 0, :, 0]


def uncertain_points(mask_logits, num_points, oversampling, importance):
    """Points for the mask losses: the most uncertain of an oversampled random set, and some random ones.

    Args:
        mask_logits: (M, h, w).
        num_points: `P`.
        oversampling: number of candidates drawn, as a multiple of `P` (the authors: 3).
        importance: fraction of `P` selected by smallest absolute logit (the authors: 0.75).

    Returns:
        (M, P, 2).
    """
    masks = mask_logits.shape[0]
    drawn = torch.rand(masks, int(num_points * oversampling), 2, device=mask_logits.device)
    num_uncertain = int(importance * num_points)
    uncertainty = -sample_points(mask_logits, drawn).abs()
    chosen = uncertainty.topk(num_uncertain, dim=1).indices
    uncertain = drawn.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 2))
    rest = torch.rand(masks, num_points - num_uncertain, 2, device=mask_logits.device)
    return torch.cat((uncertain, rest), dim=1)


def mask_cross_entropy(logits, targets):
    """Sigmoid cross-entropy, mean over points, sum over masks: (M, P), (M, P) -> scalar."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1).sum()


def dice_loss(logits, targets):
    """Dice loss with +1 smoothing, sum over masks: (M, P), (M, P) -> scalar."""
    probabilities = logits.sigmoid()
    numerator = 2 * (probabilities * targets).sum(1) + 1
    denominator = probabilities.sum(1) + targets.sum(1) + 1
    return (1 - numerator / denominator).sum()
