# SPDX-License-Identifier: Apache-2.0
"""Training recipes: a YAML file in config/training has the fields of `TrainingConfig` as its keys."""

from dataclasses import dataclass, field
from typing import Literal

from yoso_ros.training.criterion import CriterionConfig


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """Large-scale jitter to a fixed crop, flip, SSD colour distortion (paper section 4.2, facts/yoso.md, Losses)."""

    crop_height: int
    crop_width: int
    scale_min: float = 0.1
    scale_max: float = 2.0
    flip: bool = True
    color: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One training run. Learning rate for `batch_size` images per step; the defaults are the authors' (COCO)."""

    model: str
    augmentation: AugmentationConfig
    criterion: CriterionConfig = field(default_factory=CriterionConfig)
    iterations: int
    batch_size: int = 16
    learning_rate: float = 1e-4
    backbone_multiplier: float = 0.1
    weight_decay: float = 0.05
    clip_norm: float = 0.01
    schedule: Literal["step", "poly"] = "poly"
    poly_power: float = 0.9
    steps: tuple[int, ...] = ()
    step_factor: float = 0.1
    warmup_iterations: int = 0
    ema_decay: float | None = None
    validate_every: int = 5000
    seed: int = 0
