# SPDX-License-Identifier: Apache-2.0
"""Graphs for the engines that run ONNX: exported once per network structure and cached in the user's cache folder.

The cached graph has its weights as inputs, so new weights for the same network do not require a new export.
"""

import functools
import hashlib
import importlib.metadata
import inspect
import json
import logging
from pathlib import Path

import torch

from yoso_ros.errors import InputError
from yoso_ros.inference.export import fill_weights, graph_without_weights, prepare, take_uint8
from yoso_ros.inference.kept_files import read_kept, write_kept
from yoso_ros.inference.long_steps import told
from yoso_ros.resources import PACKAGE, cache_folder

_LOG = logging.getLogger(__name__)
# Code that determines the graph: files of this package, and other packages.
_SOURCES = ("models/**/*.py", "inference/export.py", "inference/subpixel.py", "inference/engine_cache.py")
_PACKAGES = ("torch", "onnx", "onnxscript", "onnx-ir")


def engine_graph(model, shape=None, variant="portable"):
    """The ONNX graph of a network for an engine: float32 frames (B, h, w, 3), as bytes.

    The frames are float, not uint8, because the padding of a mixed batch is the pixel mean, which is not an integer.

    Args:
        model: a `PanopticNetwork`.
        shape: (B, h, w) of the frames, or None for any.
        variant: key of `yoso_ros.inference.export.VARIANTS`.

    Raises:
        InputError: the graph is not in the cache and the packages needed to export it are missing.
    """
    network = prepare(model, variant)
    return kept_graph(model, network, shape, variant).SerializeToString()


def kept_graph(model, network, shape=None, variant="portable"):
    """The graph of a network with its weights, exported unless it is already in the cache folder.

    Args:
        model: a `PanopticNetwork`, which names the graph.
        network: the result of `prepare` for it.
        shape, variant: as in `engine_graph`.

    Returns:
        onnx.ModelProto with float32 frames.

    Raises:
        InputError: as in `engine_graph`, or the network has no graph for this shape, or none at all.
    """
    _check_shape(model.config, shape)
    form = f"-{variant}-{'x'.join(map(str, shape or ('any',)))}" if shape or variant != "portable" else ""
    path = cache_folder() / f"{model.config.name}-{structure_key(model)[:16]}{form}.onnx"
    proto = _read(path)
    if proto is not None:
        try:
            return fill_weights(proto, network)
        except (KeyError, ValueError) as error:
            _LOG.warning("%s does not fit the network (%s): exporting it again", path, error)
    length = "seconds" if shape else "15 to 45 s"
    with told(f"exporting the graph of {model.config.name} ({length}, once; it is kept in {path.parent})", "exported"):
        try:
            proto = graph_without_weights(network, shape, variant)
        except torch.onnx.OnnxExporterError as error:
            raise InputError(
                f"torch cannot export {model.config.reference} to ONNX; use engine openvino or torch "
                f"({' '.join(str(error.__cause__ or error).split())[:200]})"
            ) from error
        write_kept(path, proto.SerializeToString())
    return fill_weights(proto, network)


def _check_shape(config, shape):
    sides = config.input_shape
    if shape is None and config.onnx_is_of_one_shape:
        size = "x".join(map(str, sides)) if sides else "HEIGHTxWIDTH"
        raise InputError(f"{config.reference} has graphs of one size only: give --size {size} (and --batch)")
    if shape is not None and sides is not None and tuple(shape[1:]) != sides:
        raise InputError(
            f"{config.reference} takes frames that were made {sides[0]}x{sides[1]} (height x width) and padded, found "
            f"{shape[1]}x{shape[2]}"
        )


def export_onnx(model, shape=None, variant="portable"):
    """Export a network as one ONNX graph with its weights: uint8 frames in, the network's outputs out.

    The export is shared with the engines through the cache folder.

    Args:
        model: a `PanopticNetwork`; it is not changed.
        shape: (B, h, w), or None for ranged shapes.
        variant: "portable" (GridSample) or "tensorrt" (DeformConv with an explicit bias).

    Returns:
        onnx.ModelProto that has passed the ONNX checker.

    Raises:
        InputError: unknown variant, or the packages of the extra "onnx" are missing.
    """
    proto = take_uint8(kept_graph(model, prepare(model, variant), shape, variant))
    import onnx

    onnx.checker.check_model(proto, full_check=True)
    return proto


def structure_key(model):
    """Hash of everything that determines the exported graph except the weight values: str of hex digits."""
    config = model.config.graph_fields()
    shapes = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    text = json.dumps([config, shapes, [_version(p) for p in _PACKAGES], _source_hash(type(model))], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def _source_hash(network):
    # The code of a network from outside the package is in a separate file.
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
    """The graph in a file, or None if there is no readable one."""
    content = read_kept(path)
    if content is None:
        return None
    import onnx

    try:
        proto = onnx.load_model_from_string(content)
    except Exception as error:  # the parser's error class is from a package that this one does not depend on directly
        _LOG.warning("%s cannot be read (%s): exporting it again", path, error)
        return None
    return proto if proto.graph.node else None
