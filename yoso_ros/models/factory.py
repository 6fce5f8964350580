# SPDX-License-Identifier: Apache-2.0
"""Model configurations by name, and the network that each describes."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from yoso_ros.configuration import dataclass_from_mapping, read_yaml
from yoso_ros.errors import InputError
from yoso_ros.extensions import find
from yoso_ros.label_sets import load_label_set
from yoso_ros.models.config import ModelConfig
from yoso_ros.models.network import PanopticNetwork
from yoso_ros.models.realtimepan import official_checkpoint as realtimepan_checkpoint
from yoso_ros.models.realtimepan.network import RealTimePan, RealTimePanConfig
from yoso_ros.models.yoso import official_checkpoint as yoso_checkpoint
from yoso_ros.models.yoso.network import Yoso, YosoConfig
from yoso_ros.resources import share_path


class Architecture(NamedTuple):
    """A network as the rest of the package finds it.

    Attributes:
        config: subclass of `ModelConfig`.
        network: subclass of `PanopticNetwork`, built from a configuration.
        is_official: whether a state dict has the keys of the authors' files; None where they released none.
        load_official: loads such a state dict into a network, strictly.
    """

    config: type[ModelConfig]
    network: type[PanopticNetwork]
    is_official: Callable[[dict[str, Any]], bool] | None = None
    load_official: Callable[[PanopticNetwork, dict[str, Any]], None] | None = None


ARCHITECTURES = {
    "yoso": Architecture(
        YosoConfig, Yoso, yoso_checkpoint.is_official_state_dict, yoso_checkpoint.load_official_state_dict
    ),
    "realtimepan": Architecture(
        RealTimePanConfig,
        RealTimePan,
        realtimepan_checkpoint.is_official_state_dict,
        realtimepan_checkpoint.load_official_state_dict,
    ),
}


def find_architecture(name: str) -> Architecture:
    """The architecture of a configuration's `architecture`: one of `ARCHITECTURES`, or one outside the package.

    Raises:
        InputError: there is none of that name (docs/adding_a_network.md says how one outside the package is named).
    """
    return find(ARCHITECTURES, name, "ARCHITECTURE")


def model_names() -> list[str]:
    """Names of the shipped model configurations, sorted."""
    return sorted(path.stem for path in share_path("config/models").glob("*.yaml"))


def load_config(name: str | Path, changes: dict[str, Any] | None = None) -> ModelConfig:
    """Load a model configuration by name (config/models/<name>.yaml) or by the path of a YAML file.

    The file's keys are the fields of the architecture's configuration class; `name` is the file's stem unless given.

    Args:
        name: of a shipped configuration, or the path of a file.
        changes: fields that replace those of the file, checked as they are.

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
    return config_from_mapping({"name": path.stem, **read_yaml(path), **(changes or {})}, str(path))


def config_from_mapping(mapping: dict[str, Any], source: str) -> ModelConfig:
    """Build a model configuration from plain values; `label_set` is a name or a label-set mapping.

    Raises:
        InputError: as `load_config`.
    """
    try:
        architecture = find_architecture(mapping.get("architecture"))
    except InputError as error:
        raise InputError(f"{source}: architecture: {error}") from error
    label_set = mapping.get("label_set")
    if isinstance(label_set, str):
        mapping = {**mapping, "label_set": load_label_set(label_set)}
    return dataclass_from_mapping(architecture.config, mapping, source)


def change_config(config: ModelConfig, changes: dict[str, Any]) -> ModelConfig:
    """A configuration with other values of some fields, checked as those of a file are."""
    plain = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.init}
    return config_from_mapping({**plain, **changes}, config.name)


def create_model(config: ModelConfig) -> PanopticNetwork:
    """Build the network of a configuration, with fresh weights, in training mode."""
    if not isinstance(config, ModelConfig):
        raise TypeError(f"expected a model configuration, found {type(config).__name__}")
    return find_architecture(config.architecture).network(config)
