# SPDX-License-Identifier: Apache-2.0
"""Networks as OpenVINO graphs in the user's cache folder: the network itself and its quantised form.

Read from a file, the weights are mapped pages that the system may drop, instead of memory of the process.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import logging
import os
import shutil
import warnings
from pathlib import Path
from xml.etree import ElementTree

import torch

from yoso_ros.checkpoint import weights_hash
from yoso_ros.errors import InputError
from yoso_ros.files import WriteError, remove_leftovers, temporary_path
from yoso_ros.inference.engine_cache import cache_folder, structure_key
from yoso_ros.inference.export import TRACED_SHAPE, prepare
from yoso_ros.inference.kept_files import DIGESTS_FILE, is_whole, write_digests
from yoso_ros.inference.long_steps import told
from yoso_ros.inference.subpixel import replace_transposed_convolutions

_LOG = logging.getLogger(__name__)
FULL, BFLOAT16, QUANTIZED = "openvino", "openvino-bf16", "openvino-int8"  # kinds of cached graphs
GRAPH_FILE = "graph.xml"  # the weights are next to it in graph.bin
COMPILED_FOLDER = "compiled"  # next to them: the graph compiled by OpenVINO for this kind of CPU and these options
# Operations between the convolution that predicts an offset or a modulation mask and its use.
_PASSED = {"VariadicSplit", "Split", "Sigmoid", "Slice", "StridedSlice", "Convert", "Add"}
_OFFSET, _MASK = 1, 3  # inputs of a DeformableConvolution
MOST_KEPT = 4  # per kind and configuration name; each has the size of the weights


def convert(model, kind=FULL, sides=None):
    """A network as an OpenVINO model: float32 frames (B, h, w, 3) of any size, deformable convolutions as operators.

    Converts a trace, not the ONNX graph: this takes 4 seconds instead of half a minute and needs no ONNX packages.

    Args:
        model: a `PanopticNetwork`; it is not changed.
        kind: `FULL`, or `BFLOAT16` for the form that is faster in bfloat16: OpenVINO has transposed convolutions only
            in float32 and int8.
        sides: (h, w) of the frames, for a network whose graph holds for one size (`ModelConfig.graph_is_sized`).
    """
    import openvino
    from openvino.frontend.pytorch import ConversionExtension

    sides = sides or model.config.input_shape
    frames = torch.zeros(TRACED_SHAPE[0], *(sides or TRACED_SHAPE[1:]), 3)
    with torch.no_grad(), warnings.catch_warnings():
        # The tracer warns about sizes that it treats as constants; the tests compare sizes other than the traced one.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        network = prepare(model, "tensorrt")
        if kind == BFLOAT16:
            replace_transposed_convolutions(network)
        traced = torch.jit.trace(network, (frames,), check_trace=False)
        with _root_logger_kept():
            return openvino.convert_model(
                traced,
                example_input=(frames,),
                input=[openvino.PartialShape([-1, *(sides or (-1, -1)), 3])],
                extension=[
                    ConversionExtension("yoso_ros::deform_conv2d", _deformable_convolution),
                    ConversionExtension("yoso_ros::depth_to_space", _depth_to_space),
                ],
            )


@contextlib.contextmanager
def _root_logger_kept():
    """Give the root logger a handler of no effect: without any, the converter adds one that prints raw formats."""
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def _deformable_convolution(context):
    from openvino import opset8

    # The operator's bias, which exists only for TensorRT, is zero.
    x, offset, mask, weight = (context.get_input(index) for index in range(4))
    ones = [1, 1]
    node = opset8.deformable_convolution(
        x, offset, weight, ones, ones, ones, ones, mask=mask, bilinear_interpolation_pad=True
    )
    return node.outputs()


def _depth_to_space(context):
    from openvino import opset8

    return opset8.depth_to_space(context.get_input(0), "blocks_first", 2).outputs()


@functools.cache
def process_core():
    """The `openvino.Core` of this process, which is never freed.

    A core replaces the signal stack of the thread, and puts back the one before when it goes. If the older of two goes
    first, the younger puts back a stack that has been freed, and the next signal that Python handles, such as Ctrl-C,
    ends the process with a segmentation fault (seen with OpenVINO 2026.4; test_start.py).
    """
    import openvino

    return openvino.Core()


def compile_graph(model, kind, options, sides=None):
    """A network compiled for the CPU from a cached graph; converted or compiled and cached if it is new.

    Args:
        model: a `PanopticNetwork`.
        kind: as in `convert`, or `QUANTIZED`.
        options: dict of OpenVINO properties.
        sides: as in `convert`.

    Returns:
        openvino.CompiledModel.

    Raises:
        InputError: kind is `QUANTIZED` and there is no quantised graph; or the network cannot be converted.
    """
    folder = graph_folder(model, kind, sides)
    compiled = _compile_kept(folder, options)
    if compiled is None:
        graph = read_quantized_graph(model, sides) if kind == QUANTIZED else read_graph(model, kind, sides)
        compiled = _compile_kept(folder, options) or process_core().compile_model(graph, "CPU", options)
    return compiled


def _compile_kept(folder, options):
    """The compiled model from a cache folder, stored there if new; None if there is no graph or it cannot be stored."""
    path, kept = folder / GRAPH_FILE, folder / COMPILED_FOLDER
    if not path.is_file() or not is_whole(folder):
        return None
    listing = folder / f"{COMPILED_FOLDER}.{DIGESTS_FILE}"
    if kept.is_dir() and not is_whole(kept, listing):
        shutil.rmtree(kept, ignore_errors=True)
    before = set(kept.iterdir()) if kept.is_dir() else set()
    try:
        compiled = process_core().compile_model(path, "CPU", {**options, "CACHE_DIR": str(kept)})
        if kept.is_dir() and set(kept.iterdir()) != before:
            write_digests(kept, listing)
    except (RuntimeError, WriteError):  # whatever it is, compiling without the cache meets it again and reports it
        return None
    _note_use(folder)
    return compiled


def read_graph(model, kind=FULL, sides=None):
    """The OpenVINO model of a network from the cache folder; converted and cached there if it is new.

    Args:
        model: a `PanopticNetwork`.
        kind, sides: as in `convert`.

    Raises:
        InputError: this network cannot be converted.
    """
    folder = graph_folder(model, kind, sides)
    graph = _read(folder)
    if graph is not None:
        return graph
    with told(f"converting {model.config.name} for OpenVINO (seconds, once; it is kept in {folder})", "converted"):
        try:
            graph = convert(model, kind, sides)
        except (RuntimeError, TypeError) as error:  # of the tracer, and of OpenVINO's readers
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{model.config.reference} cannot be converted for OpenVINO; use engine torch ({reason})"
            ) from error
    try:
        keep_graph(graph, folder)
        graph = _read(folder) or graph
    except OSError as error:
        _LOG.warning("the converted graph cannot be kept, the next start converts it again: %s", error)
    return graph


def read_quantized_graph(model, sides=None):
    """The int8 form of a network, as stored by `yoso-ros quantize`.

    Raises:
        InputError: there is none for this network with these weights.
    """
    folder = graph_folder(model, QUANTIZED, sides)
    graph = _read(folder)
    if graph is None:
        size = f" for frames of {sides[0]}x{sides[1]}" if sides else ""
        raise InputError(
            f"precision int8 needs a graph that was quantised from these weights{size}, found none at {folder}; "
            f"make it with yoso-ros quantize --model {model.config.reference} --calibration BAG_OR_IMAGES "
            "(and the same --weights)"
        )
    return graph


def graph_folder(model, kind, sides=None):
    """Where the graph of a network with its current weights is cached: `Path`; the folder need not exist."""
    # This file's code is part of what determines the graph.
    text = "".join([structure_key(model), weights_hash(model.state_dict()), _own_hash(), _version(), str(sides or "")])
    return cache_folder() / f"{model.config.name}-{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def keep_graph(graph, folder):
    """Write an OpenVINO model into a folder atomically, and delete the oldest of its kind.

    Raises:
        OSError: it cannot be written.
    """
    import openvino

    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    temporary = temporary_path(folder)
    try:
        new = temporary / "new"
        new.mkdir(parents=True)
        try:
            openvino.save_model(graph, new / GRAPH_FILE, compress_to_fp16=False)
            _keep_float32(new / GRAPH_FILE, offset_nodes(graph))
            write_digests(new)
        except RuntimeError as error:  # OpenVINO raises this for a full disk
            raise OSError(str(error)) from error
        if folder.exists():  # a damaged one, or one written by another process at the same time
            os.replace(folder, temporary / "old")
        os.replace(new, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    kind = folder.name.rpartition("-")[0]
    known = sorted(folder.parent.glob(f"{kind}-" + 16 * "?"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in known[MOST_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def offset_nodes(graph, kind=None):
    """Names of the operations that compute offsets and masks of deformable convolutions: sorted list.

    Args:
        graph: an `openvino.Model`.
        kind: type of operation, such as "Convolution"; None for all, starting with the convolutions.
    """
    found = set()
    for node in graph.get_ops():
        if node.get_type_name() != "DeformableConvolution":
            continue
        waiting = [node.input_value(index).get_node() for index in (_OFFSET, _MASK)]
        while waiting:
            source = waiting.pop()
            if source.get_type_name() in (*_PASSED, "Convolution"):
                if kind in (None, source.get_type_name()):
                    found.add(source.get_friendly_name())
                if source.get_type_name() != "Convolution":
                    waiting += [value.get_node() for value in source.input_values()]
    return sorted(found)


def _keep_float32(path, names):
    """Mark operations of a written graph so that a bfloat16 run computes them in float32.

    This edits the file, because OpenVINO lets Python read this mark but not set it.
    """
    tree = ElementTree.parse(path)
    for layer in tree.getroot().find("layers"):
        if layer.get("name") in names:
            notes = layer.find("rt_info")
            notes = ElementTree.SubElement(layer, "rt_info") if notes is None else notes
            ElementTree.SubElement(notes, "attribute", name="precise", version="0")
    tree.write(path)


def _read(folder):
    """The graph in a folder, or None if there is no readable one."""
    path = folder / GRAPH_FILE
    if not path.is_file() or not is_whole(folder):
        return None
    try:
        graph = process_core().read_model(path)
    except RuntimeError as error:
        _LOG.warning("%s cannot be read (%s): making it again", path, " ".join(str(error).split())[:200])
        return None
    _note_use(folder)
    return graph


def _note_use(folder):
    with contextlib.suppress(OSError):
        os.utime(folder)  # the most recently used one is deleted last


def _own_hash():
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def _version():
    return importlib.metadata.version("openvino")
