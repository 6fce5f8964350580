# SPDX-License-Identifier: Apache-2.0
"""The weights of a model or of a backbone by name: shipped, in the cache, or fetched."""

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
        config: model configuration; its name says which weights.
        download: fetch them where they are neither shipped nor in the cache; False: an error says how to.

    Returns:
        pathlib.Path, of a folder for models of the hub.

    Raises:
        InputError: there are none, or they cannot or may not be fetched; says what to do.
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
        check: called with the path of a new file; raises InputError where it does not fit.
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
    """Raise InputError where a file is not, key by key, of a model configuration."""
    load_weights(create_model(config), path)
