# SPDX-License-Identifier: Apache-2.0
"""Training recipes: a YAML file in config/training has the fields of `TrainingConfig` as its keys."""

from dataclasses import dataclass
from typing import Any, Literal

from yoso_ros.configuration import check_ranges, dataclass_from_mapping, read_yaml
from yoso_ros.errors import InputError
from yoso_ros.models import load_config
from yoso_ros.resources import config_file, config_names
from yoso_ros.training.criteria import find_criterion
from yoso_ros.training.distillation import DistillationConfig

FROZEN_AT_MOST = 5  # the stem and the four stages of a backbone


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """Resize, crop, flip, SSD colour distortion; lighting, weather and camera faults with the given probabilities.

    `resize: jitter` is large-scale jitter by `scale_min` to `scale_max`. `resize: shortest_edge` resizes the shortest
    edge to one of `shortest_edges` (the longest to at most `longest_edge`), and redraws a crop in which one category
    has more than `max_category_ratio` of the labelled pixels. In both cases smaller images are padded to the crop size.
    Without a crop size (0, only for shortest_edge) whole images are used, and a batch is padded to its largest image.
    `resize: after_crop` crops the original image and then scales the crop by `scale_min` to `scale_max`.
    """

    crop_height: int = 0
    crop_width: int = 0
    resize: Literal["jitter", "shortest_edge", "after_crop"] = "jitter"
    scale_min: float = 0.1
    scale_max: float = 2.0
    shortest_edges: tuple[int, ...] = ()
    longest_edge: int = 0
    max_category_ratio: float = 1.0
    flip: bool = True
    color: bool = False
    lighting: float = 0.0
    weather: float = 0.0
    camera_faults: float = 0.0

    def __post_init__(self):
        check_ranges(self, dict.fromkeys(("lighting", "weather", "camera_faults"), (0.0, 1.0)))
        if self.resize == "shortest_edge" and not (self.shortest_edges and self.longest_edge > 0):
            raise InputError("augmentation: resize shortest_edge needs shortest_edges and longest_edge")
        whole = self.resize == "shortest_edge" and self.crop_height == self.crop_width == 0
        if not whole and not (self.crop_height > 0 and self.crop_width > 0):
            raise InputError(
                "augmentation: expected crop_height and crop_width of at least 1 (or neither with resize "
                f"shortest_edge, for whole images), found {self.crop_height} and {self.crop_width}"
            )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One training run; the defaults are the authors' (COCO).

    `batch_size` is the number of images per optimiser step over all processes and all `accumulation` passes;
    `learning_rate` refers to that batch. `momentum` is for sgd. The first `frozen_stages` of the backbone are not
    trained: 1 is the stem, 2 also the stage of stride 4, and so on. `steps` are for the step schedule, `poly_power`
    for the poly schedule. The warm-up is linear from `warmup_factor`. `clip_norm` limits the gradient of all weights.
    With `patience` a run ends after that many validations without a better PQ; the best weights are kept in any case.
    `repeat_threshold`: see `SampleMixture`. `classes: data` trains the classes of the data set, not those of the model.
    `distillation` adds the predictions of a teacher as targets. `criterion` has the fields of the configuration of the
    model's criterion.
    """

    model: str
    augmentation: AugmentationConfig
    criterion: Any
    iterations: int
    batch_size: int = 16
    accumulation: int = 1
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = 0.9
    frozen_stages: int = 0
    learning_rate: float = 1e-4
    backbone_multiplier: float = 0.1
    weight_decay: float = 0.05
    clip_norm: float = 0.01
    schedule: Literal["step", "poly"] = "poly"
    poly_power: float = 0.9
    steps: tuple[int, ...] = ()
    step_factor: float = 0.1
    warmup_iterations: int = 0
    warmup_factor: float = 0.0
    ema_decay: float | None = None
    validate_every: int = 5000
    patience: int = 0
    repeat_threshold: float = 0.0
    classes: Literal["model", "data"] = "model"
    distillation: DistillationConfig | None = None
    seed: int = 0

    def __post_init__(self):
        for name in ("iterations", "batch_size", "accumulation", "validate_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected at least 1, found {getattr(self, name)}")
        check_ranges(
            self,
            {
                "learning_rate": (0.0, 100.0),
                "backbone_multiplier": (0.0, 100.0),
                "weight_decay": (0.0, 10.0),
                "momentum": (0.0, 1.0),
                "clip_norm": (0.0, None),
                "step_factor": (0.0, 1.0),
                "warmup_iterations": (0, None),
                "warmup_factor": (0.0, 1.0),
                "ema_decay": (0.0, 1.0),
                "patience": (0, None),
                "repeat_threshold": (0.0, 1.0),
                "seed": (0, None),
            },
        )
        if not 0 <= self.frozen_stages <= FROZEN_AT_MOST:
            raise InputError(f"frozen_stages: expected 0 to {FROZEN_AT_MOST}, found {self.frozen_stages}")


def recipe_names():
    """Names of the shipped recipes, sorted."""
    return config_names("training")


def load_recipe(name, model=None):
    """Load a recipe by name (config/training/<name>.yaml) or by the path of a YAML file.

    Args:
        name: name of a shipped recipe, or path of a file.
        model: name or path of a model to train instead of the recipe's.

    Raises:
        InputError: unknown name (lists the known ones), unknown or missing key, or a value of the wrong type.
    """
    path = config_file("training", name, "recipe")
    mapping = read_yaml(path) | ({"model": str(model)} if model else {})
    architecture = load_config(mapping["model"]).architecture if "model" in mapping else None
    if architecture is not None:
        criterion = dataclass_from_mapping(
            find_criterion(architecture)[0], mapping.get("criterion") or {}, f"{path}: criterion"
        )
        mapping = {**mapping, "criterion": criterion}
    return dataclass_from_mapping(TrainingConfig, mapping, str(path))
