# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint to a model with other classes: its configuration, and all weights that do not name a class."""

import dataclasses
from pathlib import Path

import torch
import yaml

from yoso_ros.checkpoint import read_metadata
from yoso_ros.errors import InputError
from yoso_ros.files import write_file
from yoso_ros.label_sets import LabelClass
from yoso_ros.models import create_model

SUFFIX = "_own"  # of the name of a model with the classes of a data set


def with_classes(config, label_set):
    """The configuration of a model for other classes, under a name of its own."""
    name = config.name if config.name.endswith(SUFFIX) else f"{config.name}{SUFFIX}"
    return dataclasses.replace(config, name=name, label_set=label_set)


def write_model_file(config, path):
    """Write a model configuration as a YAML file that `load_config` reads; its classes are in it."""
    write_file(path, yaml.safe_dump(_plain(dataclasses.asdict(config)), sort_keys=False, allow_unicode=True))


def read_checkpoint_config(path):
    """The configuration in a checkpoint of this package.

    Raises:
        InputError: it has none, as the authors' `.pth` files; says what to give instead.
    """
    if Path(path).suffix != ".safetensors":
        raise InputError(f"{path}: expected a .safetensors file, which names its model; for others give --model")
    return read_metadata(path)[0]


def take_over(model, old, old_config):
    """Copy the weights of a network with other classes into a model.

    A tensor of the same shape is copied. Of one whose first axis counts classes (all of them, with or without "no
    object" at the end, or the things) the rows of the classes that both have by name are copied, and the last row of
    "no object"; the other rows stay as they are, fresh.

    Args:
        model: of the new classes. old: state dict in the keys of such a model. old_config: its configuration.

    Returns:
        (names of the classes that were taken over, keys that stay fresh altogether): lists of str.

    Raises:
        InputError: no tensor fits, so that the two are different networks.
    """
    rows, shared = _rows(old_config.label_set, model.config.label_set)
    new, fresh, of_classes = model.state_dict(), [], _class_keys(model.config)
    with torch.no_grad():
        for key, tensor in new.items():
            source = old.get(key)
            pairs = rows.get((len(source), len(tensor))) if key in of_classes and source is not None else None
            if pairs:
                for one, other in pairs:
                    tensor[other] = source[one]
            elif source is not None and source.shape == tensor.shape and key not in of_classes:
                tensor.copy_(source)
            else:
                fresh.append(key)
    if len(fresh) == len(new):
        raise InputError(f"the checkpoint of {old_config.name} has no weight that fits {model.config.name}")
    model.load_state_dict(new)
    return shared, fresh


def load_with_other_classes(model, path):
    """`take_over` from a checkpoint file of this package; also of the same classes in another order."""
    from yoso_ros.checkpoint import load_weights

    config = read_checkpoint_config(path)
    twin = create_model(dataclasses.replace(model.config, label_set=config.label_set))
    load_weights(twin, path)
    return take_over(model, twin.state_dict(), config)


def _rows(old, new):
    """(old size, new size) of a first axis to pairs of rows (old, new), and the names that both have."""
    pairs = [(i, j) for i, a in enumerate(old.classes) for j, b in enumerate(new.classes) if a.name == b.name]
    things = [list(labels.thing_ids) for labels in (old, new)]
    thing_pairs = [(things[0].index(i), things[1].index(j)) for i, j in pairs if i in things[0] and j in things[1]]
    rows = {(len(things[0]), len(things[1])): thing_pairs, (len(old), len(new)): pairs}
    rows[len(old) + 1, len(new) + 1] = [*pairs, (len(old), len(new))]
    return rows, [old.classes[i].name for i, _ in pairs]


def _class_keys(config):
    """Keys of the tensors whose shape depends on the classes: those that one more thing would change."""
    more = (*config.label_set.classes, LabelClass(name="", is_thing=True, dataset_id=-1, color=(0, 0, 0)))
    labels = dataclasses.replace(config.label_set, classes=more)
    shapes = [
        {key: tensor.shape for key, tensor in create_model(c).state_dict().items()}
        for c in (config, dataclasses.replace(config, label_set=labels))
    ]
    return {key for key, shape in shapes[0].items() if shapes[1].get(key) != shape}


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value
