# SPDX-License-Identifier: Apache-2.0
"""Training losses, one criterion per kind of network."""

from typing import Any, Protocol

import torch

from yoso_ros.errors import InputError
from yoso_ros.extensions import find
from yoso_ros.training.criteria.dense_detection import DenseDetectionCriterion, DenseDetectionCriterionConfig
from yoso_ros.training.criteria.mask_classification import MaskCriterionConfig, SetCriterion
from yoso_ros.training.criteria.mask_distillation import MaskDistillation, soft_targets
from yoso_ros.training.criteria.unified import UnifiedCriterion, UnifiedCriterionConfig
from yoso_ros.training.targets import Target


class Criterion(Protocol):
    """The interface of a criterion to the trainer; it is built from (model configuration, criterion configuration)."""

    def normalizer(self, targets: list[Target], image_size: tuple[int, int]) -> torch.Tensor:
        """Denominators of the losses, known before the forward pass: 1-D float tensor.

        The trainer sums it over the passes of a step and averages it over the processes, so that a distributed batch
        has the losses and gradients of the joint batch.

        Args:
            targets: of the images of one pass, on the device.
            image_size: (H, W) of the padded images.
        """

    def __call__(self, outputs: Any, targets: list[Target], normalizer: torch.Tensor) -> dict[str, torch.Tensor]:
        """Weighted losses by name; their plain sum is the training loss.

        Args:
            outputs: what the network returns in training mode.
            targets: of the images of one pass, on the device.
            normalizer: of the whole step, in the form that `normalizer` returns for a pass.
        """


# architecture -> (configuration of the criterion, criterion)
CRITERIA = {
    "yoso": (MaskCriterionConfig, SetCriterion),
    "realtimepan": (DenseDetectionCriterionConfig, DenseDetectionCriterion),
    "dr1mask": (UnifiedCriterionConfig, UnifiedCriterion),
}


def find_criterion(architecture: str) -> tuple[type, type]:
    """The criterion for a configuration's `architecture`: one of `CRITERIA`, or one outside the package.

    Returns:
        (class of its configuration, its class).

    Raises:
        InputError: there is none of that name.
    """
    return find(CRITERIA, architecture, "CRITERION")


# architecture -> (losses of a student against a teacher's targets, function from its outputs to these targets)
DISTILLATIONS = {"yoso": (MaskDistillation, soft_targets)}


def find_distillation(architecture: str) -> tuple[type, Any]:
    """The entry of `DISTILLATIONS`.

    Raises:
        InputError: a network of this kind can be neither teacher nor student.
    """
    if architecture not in DISTILLATIONS:
        raise InputError(f"distillation: expected a network of {', '.join(DISTILLATIONS)}, found {architecture}")
    return DISTILLATIONS[architecture]
