# SPDX-License-Identifier: Apache-2.0
"""The training loss of mask classification networks: matching and losses at every stage (YOSO, section 3.4).

Legend: `B` batch, `N` proposals, `C` classes, `M` matched masks of the batch, `n` targets of an image.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from yoso_ros.training.criteria.mask_losses import dice_loss, mask_cross_entropy, sample_points, uncertain_points
from yoso_ros.training.criteria.matcher import match


@dataclass(frozen=True, kw_only=True)
class MaskCriterionConfig:
    """Weights of matching cost and loss, and point sampling; the authors' values."""

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object_weight: float = 0.1
    num_points: int = 12544
    oversampling: float = 3.0
    importance: float = 0.75


class SetCriterion:
    """Losses `s{stage}_loss_{ce,mask,dice}` of a training forward pass.

    Args:
        model_config: has `num_classes` and `num_proposals`.
        config: a `MaskCriterionConfig`.
    """

    def __init__(self, model_config, config):
        self.config = config
        self.num_classes, self.num_proposals = model_config.num_classes, model_config.num_proposals
        self.matches = []  # from the last call: [stage][image] = (proposal indices, target indices)

    def normalizer(self, targets, image_size=None):
        """Denominators of the losses: number of targets (at least one), and proposal weights in the class loss.

        The matching selects min(N, n) proposals per image, so they are known in advance.

        Args:
            targets: list of `Target`.
            image_size: (H, W) of the padded images; not needed here.

        Returns:
            float32 (2,).
        """
        matched = sum(min(self.num_proposals, len(t.labels)) for t in targets)
        unmatched = self.num_proposals * len(targets) - matched
        weights = matched + self.config.no_object_weight * unmatched
        return torch.tensor([sum(len(t.labels) for t in targets), weights], dtype=torch.float32)

    def __call__(self, stages, targets, normalizer):
        """Compute the weighted losses.

        Args:
            stages: list of (class_logits (B, N, C+1) or None, mask_logits (B, N, h, w)).
            targets: B `Target`.
            normalizer: of the batch that these targets are part of.

        Returns:
            dict of name to scalar; their plain sum is the training loss.
        """
        num_masks, class_weight = normalizer.tolist()
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
                losses[f"s{index}_loss_ce"] = self._class_loss(class_logits, targets, matches) / class_weight
            mask, dice = self._mask_losses(mask_logits, targets, matches, num_masks or 1.0)
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
            # Keeps every parameter in the graph, as data-parallel training requires.
            zero = mask_logits.sum() * 0.0
            return zero, zero
        with torch.no_grad():
            points = uncertain_points(predicted, config.num_points, config.oversampling, config.importance)
            wanted = sample_points(wanted, points)
        predicted = sample_points(predicted, points)
        mask = config.mask_weight * mask_cross_entropy(predicted, wanted) / num_masks
        return mask, config.dice_weight * dice_loss(predicted, wanted) / num_masks
