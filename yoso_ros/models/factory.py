# SPDX-License-Identifier: Apache-2.0
"""Model configurations by name, and the network that each describes."""

from pathlib import Path

from yoso_ros.configuration import dataclass_from_mapping, read_yaml
from yoso_ros.errors import InputError
from yoso_ros.label_sets import load_label_set
from yoso_ros.models.yoso.network import Yoso, YosoConfig
from yoso_ros.resources import share_path

# architecture in the YAML file -> (configuration class, network class)
ARCHITECTURES = {"yoso": (YosoConfig, Yoso)}


def model_names():
    """Names of the shipped model configurations, sorted."""
    return sorted(path.stem for path in share_path("config/models").glob("*.yaml"))


def load_config(name):
    """Load a model configuration by name (config/models/<name>.yaml) or by the path of a YAML file.

    The file's keys are the fields of the architecture's configuration class; `name` is the file's stem unless given.

    Raises:
        InputError: unknown name (lists the known ones), unknown or missing key, or a value of the wrong type.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = share_path("config/models") / f"{name}.yaml"
        if not path.is_file():
            raise InputError(
                f"unknown model {str(name)!r}; known: {', '.join(model_names())}, or give the path of a YAML file"
            )
    return config_from_mapping({"name": path.stem, **read_yaml(path)}, str(path))


def config_from_mapping(mapping, source):
    """Build a model configuration from plain values; `label_set` is a name or a label-set mapping.

    Raises:
        InputError: as `load_config`.
    """
    architecture = mapping.get("architecture")
    if architecture not in ARCHITECTURES:
        raise InputError(f"{source}: architecture: expected one of {', '.join(ARCHITECTURES)}, found {architecture!r}")
    label_set = mapping.get("label_set")
    if isinstance(label_set, str):
        mapping = {**mapping, "label_set": load_label_set(label_set)}
    return dataclass_from_mapping(ARCHITECTURES[architecture][0], mapping, source)


def create_model(config):
    """Build the network of a configuration, with fresh weights, in training mode."""
    for config_class, network in ARCHITECTURES.values():
        if isinstance(config, config_class):
            return network(config)
    raise TypeError(f"expected a model configuration, found {type(config).__name__}")
