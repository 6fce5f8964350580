# SPDX-License-Identifier: Apache-2.0
"""Find the weights of a model or backbone by name: shipped, in the cache, or downloaded."""

import functools

from yoso_ros.checkpoint import load_weights
from yoso_ros.errors import InputError
from yoso_ros.models import create_model
from yoso_ros.models.factory import find_architecture
from yoso_ros.resources import checkpoint_path
from yoso_ros.weights.hub import source_folder
from yoso_ros.weights.sources import load_sources
from yoso_ros.weights.store import obtain


def find_weights(config, download=True):
    """The checkpoint of a model configuration.

    Args:
        config: model configuration; its name determines the weights.
        download: download them if they are neither shipped nor in the cache; if False, raise an error that says how.

    Returns:
        pathlib.Path, a folder for hub models.

    Raises:
        InputError: there are none, or they cannot or may not be downloaded; the message says what to do.
    """
    if find_architecture(config.architecture).load_folder is not None:
        return source_folder(config.source, download, weights=True)[0]
    path = checkpoint_path(config.name)
    if path.is_file():
        return path
    source = load_sources().models.get(config.name)
    if source is None or source.url is None:
        raise InputError(
            f"no weights are known for the model {config.name}: give weights=FILE (.safetensors, or the authors' .pth)"
        )
    return obtain(source, functools.partial(fits, config), download)


def find_backbone_weights(name, check, download=True):
    """ImageNet weights of a backbone.

    Args:
        name: "resnet18", "resnet34", "resnet50" or "mobilenet_v2".
        check: called with the path of a new file; raises InputError if it does not fit.
        download: as `find_weights`.

    Returns:
        pathlib.Path of a `.pth` with torchvision's keys.

    Raises:
        InputError: as `find_weights`.
    """
    source = load_sources().backbones.get(name)
    if source is None:
        raise InputError(f"no ImageNet weights are known for the backbone {name}: give --backbone-weights FILE")
    return obtain(source, check, download)


def fits(config, path):
    """Raise InputError unless the keys and shapes in a file are those of a model configuration."""
    load_weights(create_model(config), path)
