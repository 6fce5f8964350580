# SPDX-License-Identifier: Apache-2.0
"""Graphs for the engines that run ONNX: exported once per network structure and kept in the user's cache folder.

The kept graph has its weights as inputs, so new weights of the same network need no new export.
"""

import functools
import hashlib
import importlib.metadata
import inspect
import json
import logging
import os
import time
from pathlib import Path

from yoso_ros.files import WriteError, write_file
from yoso_ros.inference.export import fill_weights, graph_without_weights, prepare
from yoso_ros.resources import PACKAGE

_LOG = logging.getLogger(__name__)
# Whose code makes the graph: files of this package, and packages.
_SOURCES = ("models/**/*.py", "inference/export.py", "inference/subpixel.py", "inference/engine_cache.py")
_PACKAGES = ("torch", "onnx", "onnxscript", "onnx-ir")


def cache_folder():
    """Folder of kept graphs: $YOSO_CACHE, or yoso_ros in $XDG_CACHE_HOME (default ~/.cache)."""
    own = os.environ.get("YOSO_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yoso_ros"


def engine_graph(model, shape=None, variant="portable"):
    """The ONNX graph of a network for an engine: float32 frames (B, h, w, 3), as bytes.

    Float frames, not uint8, because the padding of a mixed batch is the pixel mean, which is no whole number.

    Args:
        model: a `PanopticNetwork`.
        shape: (B, h, w) of the frames, or None for any.
        variant: key of `yoso_ros.inference.export.VARIANTS`.

    Raises:
        InputError: the graph is not in the cache and the packages for an export are missing.
    """
    network = prepare(model, variant)
    form = f"-{variant}-{'x'.join(map(str, shape))}" if shape else ""
    path = cache_folder() / f"{model.config.name}-{structure_key(model)[:16]}{form}.onnx"
    proto = _read(path)
    if proto is not None:
        try:
            return fill_weights(proto, network).SerializeToString()
        except (KeyError, ValueError) as error:
            _LOG.warning("%s does not fit the network (%s): exporting it again", path, error)
    _LOG.info("exporting the graph of %s (once; it is kept in %s)", model.config.name, path.parent)
    started = time.perf_counter()
    proto = graph_without_weights(network, shape, variant)
    write_kept(path, proto.SerializeToString())
    _LOG.info("exported in %.0f s", time.perf_counter() - started)
    return fill_weights(proto, network).SerializeToString()


def structure_key(model):
    """Hash of all that decides on the exported graph except the values of the weights: str of hex digits."""
    config = model.config.graph_fields()
    shapes = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    text = json.dumps([config, shapes, [_version(p) for p in _PACKAGES], _source_hash(type(model))], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def _source_hash(network):
    # A network from outside the package has its code in a file of its own.
    digest = hashlib.sha256(Path(inspect.getfile(network)).read_bytes())
    for pattern in _SOURCES:
        for path in sorted(PACKAGE.glob(pattern)):
            digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _read(path):
    """The graph in a file, or None where there is none that can be read."""
    if not path.is_file():
        return None
    import onnx

    try:
        proto = onnx.load_model_from_string(path.read_bytes())
    except Exception as error:  # the parser's own class is of a package that this one does not name
        _LOG.warning("%s cannot be read (%s): exporting it again", path, error)
        return None
    return proto if proto.graph.node else None


def write_kept(path, content):
    """Write bytes that may be had again; a failure is a warning only."""
    try:
        write_file(path, content)
    except WriteError as error:
        _LOG.warning("%s; the next start makes it again", error)
