# SPDX-License-Identifier: Apache-2.0
"""What a run of `yoso-ros train` starts from: the model's configuration, its weights and its data sets."""

from functools import partial
from pathlib import Path

from yoso_ros.errors import InputError

IMAGENET = "imagenet"  # stands for the published ImageNet weights of the model's backbone


def read_changes(texts):
    """Parse KEY=VALUE with YAML values: dict of field to plain value."""
    import yaml

    changes = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise InputError(f"--set: expected KEY=VALUE, found {text!r}")
        try:
            changes[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"--set {key}: the value is not valid YAML: {value!r}") from error
    return changes


def model_config(arguments, recipe, changes):
    """The configuration to train: the recipe's model, or that of the checkpoint with the classes of the data set."""
    from yoso_ros.checkpoint import read_metadata
    from yoso_ros.data import open_dataset
    from yoso_ros.models import load_config, model_names
    from yoso_ros.training.own_classes import with_classes

    if recipe.classes == "model":
        return load_config(recipe.model, changes)
    if arguments.model or not arguments.weights:
        config = load_config(recipe.model)
    elif arguments.weights in model_names():
        config = load_config(arguments.weights)
    elif Path(arguments.weights).suffix == ".safetensors":
        config = read_metadata(arguments.weights)[0]
    else:
        raise InputError(
            f"{arguments.weights}: expected a .safetensors file, which names its model; for other files give --model"
        )
    return with_classes(config, open_dataset(arguments.data, arguments.train_split).label_set, changes)


def training_data(arguments, recipe, own):
    """All training data as one data set.

    Args:
        own: data set of --data.
    """
    from tqdm import tqdm

    from yoso_ros.data import open_dataset
    from yoso_ros.data.mixture import SampleMixture

    datasets, weights = [own], [1.0]
    for text in arguments.more_data:
        root, _, weight = text.partition("=")
        try:
            weights.append(float(weight or 1))
        except ValueError as error:
            raise InputError(f"--more-data: expected DATA or DATA=WEIGHT, found {text!r}") from error
        datasets.append(open_dataset(root, arguments.train_split, own.label_set))
    if len(datasets) == 1 and not recipe.repeat_threshold:
        return own
    return SampleMixture(
        datasets, weights, recipe.repeat_threshold, recipe.seed, lambda places: tqdm(places, "classes", delay=2)
    )


def load_backbone(weights, model):
    """Load ImageNet weights into the backbone, from a file or by name; returns their provenance."""
    from yoso_ros.training.backbone_weights import check_backbone_weights, load_backbone_weights
    from yoso_ros.training.distributed import one_of_machine_first
    from yoso_ros.weights.find import find_backbone_weights

    path, backbone = Path(weights), model.config.backbone
    if weights == IMAGENET:
        with one_of_machine_first():
            path = find_backbone_weights(backbone, partial(check_backbone_weights, backbone))
    load_backbone_weights(model.backbone, path, model.config.pixel_std)
    return f"backbone from {path.name}"


def start_from(weights, model):
    """Load a checkpoint, from a file or by the name of its model; returns its provenance."""
    from yoso_ros.models import load_config, model_names
    from yoso_ros.processes import rank
    from yoso_ros.training.distributed import one_of_machine_first
    from yoso_ros.training.initial_weights import load_initial_weights
    from yoso_ros.weights.find import find_weights

    path, source = Path(weights), None
    if weights in model_names():
        source = load_config(weights)
        with one_of_machine_first():
            path = find_weights(source)
    told = load_initial_weights(model, path, source)
    if told and rank() == 0:
        print(told)
    return f"{path.name}{f': {told}' if told else ''}"


def teacher(recipe, config, device):
    """The recipe's `Distillation` for a model configuration, or None."""
    from yoso_ros.training.distillation import Distillation
    from yoso_ros.training.distributed import one_of_machine_first

    if recipe.distillation is None:
        return None
    with one_of_machine_first():
        return Distillation(recipe.distillation, config, recipe.criterion, device)
