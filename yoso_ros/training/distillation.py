# SPDX-License-Identifier: Apache-2.0
"""Distillation: a slower teacher network also processes the augmented images, and its predictions are extra targets."""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from yoso_ros.checkpoint import load_weights
from yoso_ros.configuration import check_ranges
from yoso_ros.errors import InputError
from yoso_ros.models import create_model, load_config
from yoso_ros.training.criteria import find_distillation
from yoso_ros.weights.find import find_weights


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """The teacher and its weight.

    Attributes:
        teacher: name of a model or path of its YAML file; it has the classes of the student, in any order.
        weights: its checkpoint; None for the one that comes with it.
        scale: size of the teacher's images as a multiple of the student's.
        weight: weight of the teacher's losses, relative to 1 for those of the ground truth.
        min_score: minimum class probability of a teacher segment.
    """

    teacher: str
    weights: str | None = None
    scale: float = 1.5
    weight: float = 1.0
    min_score: float = 0.5

    def __post_init__(self):
        check_ranges(self, {"scale": (0.1, 10.0), "weight": (0.0, 1000.0), "min_score": (0.0, 1.0)})


class Distillation:
    """Turns the teacher's predictions into targets and computes losses against them.

    Args:
        config: a `DistillationConfig`.
        model_config: of the student.
        criterion_config: configuration of the student's criterion.
        device: of the training.

    Raises:
        InputError: student and teacher are of different kinds or have different classes, or the weights do not fit.
    """

    def __init__(self, config, model_config, criterion_config, device):
        self.config, teacher = config, load_config(config.teacher)
        loss, self._soft_targets = find_distillation(model_config.architecture)
        if find_distillation(teacher.architecture)[0] is not loss:
            raise InputError(f"distillation: expected a teacher of the student's kind, found {teacher.architecture}")
        names = [[c.name for c in c.label_set.classes] for c in (model_config, teacher)]
        if sorted(names[0]) != sorted(names[1]):
            raise InputError(
                f"distillation: expected a teacher with the classes {', '.join(names[0])}; {teacher.name} has "
                f"{', '.join(names[1])}"
            )
        self._class_order = [names[1].index(name) for name in names[0]]
        self._loss = loss(model_config, criterion_config)
        model = create_model(teacher, weights_follow=True)
        load_weights(model, Path(config.weights) if config.weights else find_weights(teacher))
        self.teacher = model.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)

    @torch.no_grad()
    def targets(self, images):
        """The teacher's predictions for a batch (B, 3, H, W), RGB 0..255: list of B targets for `__call__`."""
        divisor = self.teacher.size_divisor
        size = [max(divisor, round(self.config.scale * side / divisor) * divisor) for side in images.shape[2:]]
        larger = F.interpolate(images, size, mode="bilinear", align_corners=False)
        return self._soft_targets(self.teacher(larger), self._class_order, self.config.min_score)

    def normalizer(self, targets):
        """See `Criterion.normalizer`."""
        return self._loss.normalizer(targets)

    def __call__(self, outputs, targets, normalizer):
        """Losses `teacher_...` of the student's training outputs; see `Criterion.__call__`."""
        losses = self._loss(outputs, targets, normalizer)
        return {f"teacher_{name}": self.config.weight * value for name, value in losses.items()}
