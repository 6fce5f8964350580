# SPDX-License-Identifier: Apache-2.0
"""Checkpoints on disk: safetensors with the model configuration and the provenance of the weights in the metadata."""

import dataclasses
import hashlib
import json
import sys
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from yoso_ros.errors import InputError
from yoso_ros.files import write_file
from yoso_ros.models.factory import ARCHITECTURES, config_from_mapping, find_architecture
from yoso_ros.models.network import check_state_dict


def save_checkpoint(path, state_dict, config, provenance):
    """Write weights with their configuration, atomically.

    Args:
        path: `.safetensors` file.
        state_dict: key to tensor.
        config: model configuration.
        provenance: dict of plain values: command, data, metrics, versions. In the file it also has "weights_sha256",
            see `weights_hash`; `load_weights` checks it.
    """
    state_dict = {k: v.detach().cpu().contiguous() for k, v in state_dict.items()}
    provenance = {**provenance, "weights_sha256": weights_hash(state_dict)}
    metadata = {"config": json.dumps(dataclasses.asdict(config)), "provenance": json.dumps(provenance)}
    # Through bytes: the library's own file writer would leave a file that only its owner can read.
    write_file(path, save(state_dict, metadata))


def weights_hash(state_dict):
    """SHA-256 of weights: for each tensor, by ascending key, the text "KEY DTYPE SHAPE" and the bytes; 64 hex digits.

    It identifies the weights regardless of the rest of the file: configuration, command, metrics.
    """
    digest = hashlib.sha256()
    for key in sorted(state_dict):
        tensor = state_dict[key].detach().cpu().contiguous()
        digest.update(f"{key} {str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def read_metadata(path):
    """The configuration and the provenance of a checkpoint, without its weights.

    Returns:
        (model configuration, provenance dict).

    Raises:
        InputError: no such file, not safetensors, or not written by this package.
    """
    with _open(path) as file:
        metadata = file.metadata() or {}
    if "config" not in metadata:
        raise InputError(f"{path}: expected a yoso_ros checkpoint with its configuration, found none in the metadata")
    config = json.loads(metadata["config"])
    # A file must not cause the import of a module that the user's configuration has not named.
    if config.get("architecture") not in (*ARCHITECTURES, *sys.modules):
        raise InputError(
            f"{path}: its network {config.get('architecture')!r} is not one of this package; load the YAML file of the "
            "model first"
        )
    return config_from_mapping(config, str(path)), _provenance(metadata)


def load_weights(model, path):
    """Load weights of any kind that the package knows into a model, strictly.

    `.safetensors` written by this package, of the network in any of its equivalent forms, a `.pth` of the authors (read
    with weights_only: no code from the file is executed), or the folder of a checkpoint of the hub.

    Raises:
        InputError: the file is missing or unreadable, or keys do not fit; the message lists them.
    """
    path = Path(path)
    architecture = find_architecture(model.config.architecture)
    if path.is_dir() and architecture.load_folder is not None:
        architecture.load_folder(model, path)
        _check_values(model.state_dict(), path)
        return
    state_dict = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pth(path)
    _check_values(state_dict, path)
    if architecture.is_official is not None and architecture.is_official(state_dict):
        architecture.load_official(model, state_dict)
        return
    state_dict = model.adapt_state_dict(state_dict)
    try:
        check_state_dict(model, state_dict)
    except InputError as error:
        raise InputError(f"{path} does not fit the model {model.config.name}: {error}") from error
    model.load_state_dict(state_dict)


def _open(path):
    path = Path(path)
    if not path.is_file():
        raise InputError(f"expected a weights file at {path}, found none")
    try:
        return safe_open(str(path), framework="pt")
    except SafetensorError as error:
        raise InputError(f"{path}: expected a safetensors file, found something else ({error})") from error


def _provenance(metadata):
    # Older checkpoints, the shipped ones among them, have it under "story".
    return json.loads(metadata.get("provenance") or metadata.get("story") or "{}")


def _read_safetensors(path):
    with _open(path) as file:
        state_dict = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        expected = _provenance(file.metadata() or {}).get("weights_sha256")
    if expected and weights_hash(state_dict) != expected:
        raise InputError(
            f"{path}: the weights are not those that its metadata names (SHA-256 {expected[:12]}...): the file was "
            "damaged or changed; get it again"
        )
    return {key: tensor.float() for key, tensor in state_dict.items()}


def _check_values(state_dict, path):
    """A network with such a number answers as if all were well, in some engines, and finds nothing."""
    faults = [key for key, value in state_dict.items() if not torch.as_tensor(value).double().isfinite().all()]
    faults += [key for key, value in state_dict.items() if key.endswith("running_var") and (value < 0).any()]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise InputError(
            f"{path}: expected finite weights and variances of 0 or more, found others in {', '.join(faults[:3])}{more}"
        )


def read_torch_file(path, device="cpu"):
    """What `torch.save` wrote, read without running code of the file.

    Args:
        path: pathlib.Path.
        device: of the tensors.

    Raises:
        InputError: there is none, it is damaged (its checksums are verified), or it holds more than plain values.
    """
    if not path.is_file():
        raise InputError(f"expected a weights file at {path}, found none")
    try:
        if zipfile.is_zipfile(path):
            # torch itself does not look at the checksums.
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged:
                raise InputError(f"{path} is damaged: the checksum of {damaged} differs; get it again")
        return torch.load(path, map_location=device, weights_only=True)
    except InputError:
        raise
    except Exception as error:
        # Its advice to allow code must not reach anybody.
        lines = str(error).splitlines()
        reason = (
            "it holds objects, or is none" if "weights_only" in str(error) else (lines or [type(error).__name__])[0]
        )
        raise InputError(
            f"{path}: expected a PyTorch weights file without code, cannot read it "
            f"({path.stat().st_size} bytes; {reason})"
        ) from error


def _read_pth(path):
    content = read_torch_file(path)
    content = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(torch.is_tensor(v) for v in content.values()):
        raise InputError(f"{path}: expected a state dict of tensors (or one under the key 'model')")
    return content
