# SPDX-License-Identifier: Apache-2.0
"""What a mask classification network learns from the answers of another: soft masks and class probabilities.

Legend: `B` batch, `N` proposals, `C` classes, `n` segments of the teacher in an image, `h w` size of its mask logits.
"""

from typing import NamedTuple

import torch

from yoso_ros.training.criteria.mask_classification import SetCriterion


class SoftTarget(NamedTuple):
    """What the teacher sees in an image: labels int64 (n,), masks (n, h, w) in 0..1, classes (n, C+1) that sum to 1."""

    labels: torch.Tensor
    masks: torch.Tensor
    classes: torch.Tensor


def soft_targets(outputs, class_order, min_score):
    """The segments of a teacher: its proposals whose likeliest class is no "no object" and likely enough.

    Args:
        outputs: of the teacher, in evaluation: class_logits (B, M, C+1), mask_logits (B, M, h, w).
        class_order: the teacher's class id of each class of the student.
        min_score: least probability of the class.

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

    Proposals are matched with the teacher's segments as with true ones. The masks have the losses of the criterion with
    the teacher's probabilities as targets; the classes of matched proposals have the cross-entropy with the teacher's
    class probabilities. Proposals without a match learn nothing here: what is no object the ground truth says.
    """

    def normalizer(self, targets, image_size=None):
        """Denominators: segments of the teacher, and matched proposals; float32 (2,)."""
        matched = sum(min(self.num_proposals, len(t.labels)) for t in targets)
        return torch.tensor([sum(len(t.labels) for t in targets), matched], dtype=torch.float32)

    def __call__(self, stages, targets, normalizer):
        """As `SetCriterion`, of B `SoftTarget`."""
        return super().__call__(stages, targets, torch.where(normalizer > 0, normalizer, 1.0))

    def _class_loss(self, class_logits, targets, matches):
        logs = class_logits.float().log_softmax(-1)
        wanted = torch.zeros_like(logs)
        for i, (target, (proposals, chosen)) in enumerate(zip(targets, matches, strict=True)):
            wanted[i, proposals] = target.classes[chosen]
        return -self.config.class_weight * (wanted * logs).sum()
