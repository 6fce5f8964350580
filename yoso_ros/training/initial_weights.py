# SPDX-License-Identifier: Apache-2.0
"""A checkpoint to start training from; with another label set, all weights except those of classes it lacks."""

import dataclasses

import torch

from yoso_ros.checkpoint import load_weights, read_metadata
from yoso_ros.errors import InputError
from yoso_ros.label_sets import LabelClass
from yoso_ros.models import create_model
from yoso_ros.models.network import check_state_dict


def load_initial_weights(model, path, source=None):
    """Load a checkpoint into a model that is about to be trained.

    A checkpoint with the model's classes is loaded strictly. One with another label set must match everything except
    the layers whose size depends on the classes; in these, the rows of classes with the same name and of "no object"
    are carried over, and the other rows keep their initial values.

    Args:
        model: any network of this package.
        path: `.safetensors` of this package, or a `.pth` of the authors.
        source: configuration that the weights belong to; None: that in the file's metadata, else the model's.

    Returns:
        str: "" for a strict load, else one line that lists what keeps its initial values.

    Raises:
        InputError: the file does not fit.
    """
    if source is None and path.suffix == ".safetensors":
        source = _stated_config(path)
    if source is None or _names(source) == _names(model.config):
        load_weights(model, path)
        return ""
    donor = create_model(source)
    load_weights(donor, path)
    return _carry_over(model, donor)


def _stated_config(path):
    try:
        return read_metadata(path)[0]
    except InputError:
        return None  # a foreign file: the strict load reports what does not fit


def _names(config):
    return [label.name for label in config.label_set.classes]


def _carry_over(model, donor):
    own, given = model.state_dict(), model.adapt_state_dict(donor.state_dict())
    class_layers = _class_layers(model.config)
    check_state_dict(model, {k: own[k] if k in class_layers and k in own else v for k, v in given.items()})
    pairs = _pairs(_names(model.config), _names(donor.config))
    merged, fresh_layers = {}, []
    for key, value in own.items():
        if key not in class_layers:
            merged[key] = given[key]
        elif _has_row_per_class(value, model.config) and _has_row_per_class(given[key], donor.config):
            merged[key] = value.clone()
            merged[key][-1] = given[key][-1]  # "no object"
            if pairs:
                to, of = map(list, zip(*pairs, strict=True))
                merged[key][to] = given[key][of]
        else:
            merged[key] = value
            fresh_layers.append(key)
    model.load_state_dict(merged)
    return _told(model.config, donor.config, pairs if len(fresh_layers) < len(class_layers) else [], fresh_layers)


def _pairs(names, given):
    """Positions of the classes in common: list of (own, given)."""
    of = {name.casefold(): i for i, name in reversed(list(enumerate(given)))}
    return [(i, of[name.casefold()]) for i, name in enumerate(names) if name.casefold() in of]


def _class_layers(config):
    """Keys whose shape depends on the classes: those that change when a thing or stuff class is added."""
    shapes = _shapes(config)
    keys = set()
    for is_thing in (False, True):
        added = LabelClass(name="one more", is_thing=is_thing, dataset_id=-1, color=(0, 0, 0))
        label_set = dataclasses.replace(config.label_set, classes=(*config.label_set.classes, added))
        other = _shapes(dataclasses.replace(config, label_set=label_set))
        keys |= {key for key, shape in shapes.items() if other[key] != shape}
    return keys


def _shapes(config):
    with torch.device("meta"):
        return {key: value.shape for key, value in create_model(config).state_dict().items()}


def _has_row_per_class(tensor, config):
    return tensor.shape[0] == len(config.label_set) + 1


def _told(config, source, pairs, fresh_layers):
    names = _names(config)
    kept = {i for i, _ in pairs}
    fresh = [name for i, name in enumerate(names) if i not in kept]
    carried = f"carried over by name: {', '.join(names[i] for i in sorted(kept)) or 'none'}"
    layers = f"; fresh layers: {', '.join(fresh_layers)}" if fresh_layers else ""
    return (
        f"all weights of {source.name} but those of its {len(source.label_set)} classes; of {len(names)} classes "
        f"{carried}; fresh: {', '.join(fresh) or 'none'}{layers}"
    )
