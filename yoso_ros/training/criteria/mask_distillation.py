# SPDX-License-Identifier: Apache-2.0
"""Distillation for mask classification networks: a teacher's soft masks and class probabilities as targets.

Legend: `B` batch, `N` proposals, `C` classes, `n` segments of the teacher in an image, `h w` size of its mask logits.
"""

from typing import NamedTuple

import torch

from yoso_ros.training.criteria.mask_classification import SetCriterion


class SoftTarget(NamedTuple):
    """A teacher's prediction for an image: labels int64 (n,), masks (n, h, w) in 0..1, class probabilities (n, C+1)."""

    labels: torch.Tensor
    masks: torch.Tensor
    classes: torch.Tensor


def soft_targets(outputs, class_order, min_score):
    """The segments of a teacher: proposals whose most likely class is not "no object" and is likely enough.

    Args:
        outputs: of the teacher, in evaluation mode: class_logits (B, M, C+1), mask_logits (B, M, h, w).
        class_order: the teacher's class id for each class of the student.
        min_score: minimum class probability.

    Returns:
        list of B `SoftTarget`.
    """
    columns = torch.tensor([*class_order, len(class_order)], device=outputs.class_logits.device)
    classes = outputs.class_logits.float().softmax(-1)[..., columns]
    scores, labels = classes[..., :-1].max(-1)
    kept = (scores >= min_score) & (scores > classes[..., -1])
    masks = outputs.mask_logits.float().sigmoid()
    return [SoftTarget(labels[i, k], masks[i, k], classes[i, k]) for i, k in enumerate(kept)]


class MaskDistillation(SetCriterion):
    """Losses against the segments of a teacher, at every stage.

    Proposals are matched with the teacher's segments as with true ones. Masks use the losses of the criterion with the
    teacher's probabilities as targets; the classes of matched proposals use the cross-entropy with the teacher's class
    probabilities. Unmatched proposals contribute nothing here: "no object" is learned from the ground truth.
    """

    def normalizer(self, targets, image_size=None):
        """Denominators: number of teacher segments, and of matched proposals; float32 (2,)."""
        matched = sum(min(self.num_proposals, len(t.labels)) for t in targets)
        return torch.tensor([sum(len(t.labels) for t in targets), matched], dtype=torch.float32)

    def __call__(self, stages, targets, normalizer):
        """As in `SetCriterion`, with B `SoftTarget`."""
        return super().__call__(stages, targets, torch.where(normalizer > 0, normalizer, 1.0))

    def _class_loss(self, class_logits, targets, matches):
        logs = class_logits.float().log_softmax(-1)
        wanted = torch.zeros_like(logs)
        for i, (target, (proposals, chosen)) in enumerate(zip(targets, matches, strict=True)):
            wanted[i, proposals] = target.classes[chosen]
        return -self.config.class_weight * (wanted * logs).sum()
