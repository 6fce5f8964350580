# SPDX-License-Identifier: Apache-2.0
"""Model configurations by name, and the network that each describes."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from torch.overrides import TorchFunctionMode

from yoso_ros.configuration import dataclass_from_mapping, read_yaml
from yoso_ros.errors import InputError
from yoso_ros.extensions import find
from yoso_ros.label_sets import load_label_set
from yoso_ros.models.config import ModelConfig
from yoso_ros.models.dr1mask.network import Dr1Mask, Dr1MaskConfig
from yoso_ros.models.hugging_face.checkpoint import complete_from_folder, load_folder
from yoso_ros.models.hugging_face.config import HuggingFaceConfig
from yoso_ros.models.hugging_face.network import HuggingFaceNetwork
from yoso_ros.models.network import PanopticNetwork
from yoso_ros.models.realtimepan import official_checkpoint as realtimepan_checkpoint
from yoso_ros.models.realtimepan.network import RealTimePan, RealTimePanConfig
from yoso_ros.models.yoso import official_checkpoint as yoso_checkpoint
from yoso_ros.models.yoso.network import Yoso, YosoConfig
from yoso_ros.resources import config_file, config_names
from yoso_ros.weights.hub import is_hub_source, source_folder, source_name


class Architecture(NamedTuple):
    """The parts of a network that the rest of the package uses.

    Attributes:
        config: subclass of `ModelConfig`.
        network: subclass of `PanopticNetwork`, built from a configuration.
        is_official: whether a state dict has the keys of the authors' files; None if they released none.
        load_official: loads such a state dict into a network, strictly.
        complete: (mapping with "source", folder of that checkpoint) -> mapping with all fields; None if the
            configuration is written manually.
        load_folder: loads the weights of such a folder into a network, strictly.
    """

    config: type[ModelConfig]
    network: type[PanopticNetwork]
    is_official: Callable[[dict[str, Any]], bool] | None = None
    load_official: Callable[[Any, dict[str, Any]], None] | None = None
    complete: Callable[[dict[str, Any], Path], dict[str, Any]] | None = None
    load_folder: Callable[[Any, Path], None] | None = None


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
    "dr1mask": Architecture(Dr1MaskConfig, Dr1Mask),  # the authors released no weights
    "hugging_face": Architecture(
        HuggingFaceConfig, HuggingFaceNetwork, complete=complete_from_folder, load_folder=load_folder
    ),
}


def find_architecture(name: str) -> Architecture:
    """The entry for a configuration's `architecture`: one of `ARCHITECTURES`, or one outside the package.

    Raises:
        InputError: there is none of that name (see docs/adding_a_network.md for those outside the package).
    """
    return find(ARCHITECTURES, name, "ARCHITECTURE")


def model_names() -> list[str]:
    """Names of the shipped model configurations, sorted."""
    return config_names("models")


def load_config(name: str | Path, changes: dict[str, Any] | None = None, download: bool = True) -> ModelConfig:
    """Load a model configuration by name (config/models/<name>.yaml), by the path of a YAML file, or from the hub.

    The file's keys are the fields of the architecture's configuration class; `name` defaults to the file's stem.

    Args:
        name: of a shipped configuration, path of a file, `hf:ORG/NAME[@REVISION]`, or folder of such a checkpoint.
        changes: fields that replace those of the file, checked in the same way.
        download: fetch the configuration of a model of the hub if it is not on this machine.

    Raises:
        InputError: unknown name (lists the known ones), unknown or missing key, or a value of the wrong type.
    """
    if is_hub_source(name):
        mapping = {"architecture": "hugging_face", "source": str(name), **(changes or {})}
        return config_from_mapping(mapping, str(name), download)
    path = config_file("models", name, "model", ", hf:ORG/NAME for a model of the hub, or the folder of one")
    return config_from_mapping({"name": path.stem, **read_yaml(path), **(changes or {})}, str(path), download)


def config_from_mapping(mapping: dict[str, Any], source: str, download: bool = True) -> ModelConfig:
    """Build a model configuration from plain values; `label_set` is a name or a label-set mapping.

    Args:
        mapping: field to value; if the architecture reads its fields from a checkpoint, "source" is enough.
        source: for messages.
        download: as in `load_config`.

    Raises:
        InputError: as in `load_config`.
    """
    try:
        architecture = find_architecture(mapping.get("architecture"))  # type: ignore[arg-type]
    except InputError as error:
        raise InputError(f"{source}: architecture: {error}") from error
    label_set = mapping.get("label_set")
    if isinstance(label_set, str):
        mapping = {**mapping, "label_set": load_label_set(label_set)}
    if architecture.complete is not None and "network" not in mapping:
        if not isinstance(mapping.get("source"), str):
            raise InputError(f"{source}: source: expected hf:ORG/NAME or a folder, found {mapping.get('source')!r}")
        folder, pinned = source_folder(mapping["source"], download)
        mapping = architecture.complete({"name": source_name(pinned), **mapping, "source": pinned}, folder)
    return dataclass_from_mapping(architecture.config, mapping, source)


def create_model(config: ModelConfig, *, weights_follow: bool = False) -> PanopticNetwork:
    """Build the network of a configuration, in training mode.

    Args:
        config: of the network.
        weights_follow: the caller loads weights before anything else, so random parameters are set to zero instead;
            this saves half a second at start-up with ResNet-50.
    """
    if not isinstance(config, ModelConfig):
        raise TypeError(f"expected a model configuration, found {type(config).__name__}")
    with _WithoutRandomNumbers() if weights_follow else contextlib.nullcontext():
        return find_architecture(config.architecture).network(config)


class _WithoutRandomNumbers(TorchFunctionMode):
    """Make functions that fill a tensor with random numbers fill it with zeros, which is fast.

    Leaving the memory uninitialised would not do: `torch.nn.init.trunc_normal_` repeats until all numbers are within
    its limits.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "").endswith(("normal_", "uniform_")):
            return (args[0] if args else kwargs["tensor"]).detach().zero_()
        return func(*args, **(kwargs or {}))
