# SPDX-License-Identifier: Apache-2.0
"""The training loss of mask-classification networks: matching and losses at every stage (facts/yoso.md, Losses).

Legend: `B` batch, `N` proposals, `C` classes, `M` matched masks of the batch, `n` targets of an image.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F

from yoso_ros.training.losses import dice_loss, mask_cross_entropy, sample_points, uncertain_points
from yoso_ros.training.matcher import match


class Target(NamedTuple):
    """Targets of one image: labels int64 (n,), masks (n, H, W) zero-padded to the padded frame."""

    labels: torch.Tensor
    masks: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class CriterionConfig:
    """Weights of matching cost and loss, and point sampling; the authors' values."""

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object_weight: float = 0.1
    num_points: int = 12544
    oversampling: float = 3.0
    importance: float = 0.75


class Normalizer(NamedTuple):
    """Denominators of the losses; sums of those of the parts are those of a joint batch.

    With the sums of the whole batch, a batch that is shared out over processes and passes has the losses and gradients
    of the joint batch. The matching takes min(N, n) proposals of an image, so they are known before it.
    """

    num_masks: float  # targets; 0 counts as 1
    class_weight: float  # sum of the weights of the proposals in the class loss

    @classmethod
    def of(cls, targets, num_proposals, config):
        """The normalizer of a list of `Target`."""
        matched = sum(min(num_proposals, len(t.labels)) for t in targets)
        unmatched = num_proposals * len(targets) - matched
        return cls(sum(len(t.labels) for t in targets), matched + config.no_object_weight * unmatched)


class SetCriterion:
    """Losses `s{stage}_loss_{ce,mask,dice}` of a training forward pass.

    Args:
        num_classes: `C`.
        config: a `CriterionConfig`.
    """

    def __init__(self, num_classes, config):
        self.config = config
        self.num_classes = num_classes
        self.matches = []  # of the last call: [stage][image] = (proposal indices, target indices)

    def __call__(self, stages, targets, normalizer=None):
        """Compute the weighted losses.

        Args:
            stages: list of (class_logits (B, N, C+1) or None, mask_logits (B, N, h, w)).
            targets: B `Target`.
            normalizer: `Normalizer` of the batch that this one is a part of; by default its own.

        Returns:
            dict of name to scalar; their plain sum is the training loss.
        """
        normalizer = normalizer or Normalizer.of(targets, stages[0][1].shape[1], self.config)
        losses, self.matches = {}, []
        for index, (class_logits, mask_logits) in enumerate(stages):
            matches = [
                match(
                    None if class_logits is None else class_logits[i],
                    mask_logits[i],
                    target.labels,
                    target.masks,
                    num_points=self.config.num_points,
                    class_weight=self.config.class_weight,
                    mask_weight=self.config.mask_weight,
                    dice_weight=self.config.dice_weight,
                )
                for i, target in enumerate(targets)
            ]
            self.matches.append(matches)
            if class_logits is not None:
                losses[f"s{index}_loss_ce"] = self._class_loss(class_logits, targets, matches) / normalizer.class_weight
            mask, dice = self._mask_losses(mask_logits, targets, matches, normalizer.num_masks or 1.0)
            losses[f"s{index}_loss_mask"], losses[f"s{index}_loss_dice"] = mask, dice
        return losses

    def _class_loss(self, class_logits, targets, matches):
        wanted = torch.full(class_logits.shape[:2], self.num_classes, device=class_logits.device)
        for i, (target, (proposals, chosen)) in enumerate(zip(targets, matches, strict=True)):
            wanted[i, proposals] = target.labels[chosen]
        weight = torch.ones(self.num_classes + 1, device=class_logits.device)
        weight[-1] = self.config.no_object_weight
        logits = class_logits.float().transpose(1, 2)
        return self.config.class_weight * F.cross_entropy(logits, wanted, weight, reduction="sum")

    def _mask_losses(self, mask_logits, targets, matches, num_masks):
        config = self.config
        predicted = torch.cat([mask_logits[i, proposals] for i, (proposals, _) in enumerate(matches)]).float()
        wanted = torch.cat([t.masks[chosen].float() for t, (_, chosen) in zip(targets, matches, strict=True)])
        if not len(predicted):
            # Keeps every parameter in the graph, as data-parallel training needs.
            zero = mask_logits.sum() * 0.0
            return zero, zero
        with torch.no_grad():
            points = uncertain_points(predicted, config.num_points, config.oversampling, config.importance)
            wanted = sample_points(wanted, points)
        predicted = sample_points(predicted, points)
        mask = config.mask_weight * mask_cross_entropy(predicted, wanted) / num_masks
        return mask, config.dice_weight * dice_loss(predicted, wanted) / num_masks
