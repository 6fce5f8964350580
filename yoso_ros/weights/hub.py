# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of the Hugging Face hub: the user's own folder, one in the cache, or a download."""

import json
import os
import re
from pathlib import Path

from yoso_ros.errors import InputError
from yoso_ros.resources import cache_folder

PREFIX = "hf:"
# The files that are read; pickles and code are never downloaded.
CONFIGURATION = ("config.json", "preprocessor_config.json", "processor_config.json")
TOKENIZER = ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
WEIGHTS = ("model*.safetensors", "model.safetensors.index.json")


def is_hub_source(name):
    """Whether a model is a hub name, `hf:ORG/NAME[@REVISION]`, or a folder with such a checkpoint."""
    return str(name).startswith(PREFIX) or (Path(name) / "config.json").is_file()


def source_folder(source, download=True, weights=False):
    """The folder of a checkpoint.

    Args:
        source: "hf:ORG/NAME", optionally followed by "@REVISION" (branch, tag or commit), or a folder.
        download: download what is missing; if False, raise an error that says how.
        weights: whether the weights are needed too.

    Returns:
        (pathlib.Path, the source with its commit).

    Raises:
        InputError: it is missing and cannot or may not be downloaded; the message says what to do.
    """
    source = str(source)
    if not source.startswith(PREFIX):
        folder = Path(source)
        if not (folder / "config.json").is_file():
            raise InputError(f"expected a checkpoint folder with config.json at {folder}, found none")
        return folder, source
    repository, revision = _parts(source)
    folder = _snapshot(repository, revision, weights, local_files_only=True)
    if folder is None or not _is_whole(folder, weights):
        folder = _fetch(source, repository, revision, download, weights)
    return folder, f"{PREFIX}{repository}@{folder.name}"


def is_present(source):
    """Whether a checkpoint with its weights is on this machine."""
    try:
        source_folder(source, download=False, weights=True)
    except InputError:
        return False
    return True


def source_name(source):
    """A name for the model that is usable in file names: str."""
    if str(source).startswith(PREFIX):
        return _parts(str(source))[0].replace("/", "--")
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", Path(source).resolve().name).lstrip(".+-")[:100] or "model"


def hub_folder():
    """Folder of downloaded checkpoints, in the cache folder."""
    return cache_folder() / "hub"


def _parts(source):
    name, _, revision = source.removeprefix(PREFIX).partition("@")
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name) or ("@" in source and not revision):
        raise InputError(f"model: expected hf:ORG/NAME or hf:ORG/NAME@REVISION, found {source!r}")
    return name, revision or None


def _snapshot(repository, revision, weights, local_files_only=False):
    library = _library()
    from huggingface_hub.errors import LocalEntryNotFoundError

    options = {"revision": revision, "cache_dir": hub_folder(), "local_files_only": local_files_only}
    patterns = [*CONFIGURATION, *TOKENIZER, *(WEIGHTS if weights else ())]
    try:
        return Path(library.snapshot_download(repository, allow_patterns=patterns, **options))
    except LocalEntryNotFoundError:
        if local_files_only:  # missing or incomplete
            return None
        raise


def _is_whole(folder, weights):
    """Whether all needed files exist: a transfer may have been interrupted, or was for the configuration only."""
    if not (folder / "config.json").is_file() or not any((folder / name).is_file() for name in CONFIGURATION[1:]):
        return False
    if not weights:
        return True
    index = folder / "model.safetensors.index.json"
    names = set(json.loads(index.read_text())["weight_map"].values()) if index.is_file() else {"model.safetensors"}
    return all((folder / name).is_file() for name in names)


def _fetch(source, repository, revision, download, weights):
    from yoso_ros.weights.store import offline

    by_hand = (
        f"without a network, copy its config.json, preprocessor_config.json and model.safetensors into a folder and "
        f"give the folder as the model, or copy {hub_folder()} from a machine that has it"
    )
    if not download:
        raise InputError(f"{source} is not here: run `yoso-ros download {source}`; {by_hand}")
    if offline():
        raise InputError(f"YOSO_OFFLINE is set and {source} is not here: {by_hand}")
    try:
        folder = _snapshot(repository, revision, weights)
    except Exception as error:  # errors of the library, the connection and the disk
        raise InputError(f"cannot fetch {source}: {_reason(error)}; {by_hand}") from error
    if not _is_whole(folder, weights):
        what = (
            "model.safetensors (pickled weights are never downloaded)" if weights else "config.json and its processor"
        )
        raise InputError(f"{source}: expected {what} in this repository, found none")
    return folder


def _reason(error):
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return "its owner requires an agreement; accept it on the hub and log in with `hf auth login`"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "there is no such model, or it is private (`hf auth login`)"
    if isinstance(error, errors.RevisionNotFoundError):
        return "there is no such revision"
    if isinstance(error, errors.LocalEntryNotFoundError):
        return "no connection to the hub"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} ({error.filename or hub_folder()})"
    return " ".join(str(error).split())[:200] or type(error).__name__


def _library():
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import huggingface_hub
    except ImportError as error:
        raise InputError(
            f"hub models need huggingface_hub and transformers: pip install yoso-ros[hub] ({error})"
        ) from error
    return huggingface_hub
