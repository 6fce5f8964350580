# SPDX-License-Identifier: Apache-2.0
"""Post-training quantisation to int8 for the OpenVINO engine, with NNCF and the user's own frames.

Operations that determine sampling positions stay in float: the convolutions that predict the offsets and the modulation
of the deformable convolutions. So does everything outside the network's feature modules (see `precision`): YOSO's
decoder, a sixteenth of the work, costs the small model 10 PQ on CamVid in int8, backbone and neck together less than 1
(docs/engines.md).
"""

import contextlib
import logging

from yoso_ros.errors import InputError
from yoso_ros.inference.openvino_graph import QUANTIZED, graph_folder, keep_graph, offset_nodes, read_graph
from yoso_ros.inference.precision import float_parts
from yoso_ros.inference.preprocess import network_input, padded_size


def quantize(model, frames):
    """Quantise a network and store the graph where the engine with precision int8 looks for it.

    Args:
        model: a `PanopticNetwork`; it is not changed.
        frames: list of uint8 (h, w, 3) RGB like those the network will see; tens to hundreds of them.

    Returns:
        `Path` of the folder with the graph.

    Raises:
        InputError: the package nncf or openvino is missing, or there are no frames.
        OSError: the graph cannot be written.
    """
    try:
        import nncf
        import openvino  # noqa: F401 - what reads the graph imports it
    except ImportError as error:
        raise InputError(
            f'int8 needs the packages of the extra "quantize" (pip install yoso-ros[quantize]): {error}'
        ) from error
    if not frames:
        raise InputError("calibration: expected at least one frame, found none")
    sides, frames = one_size(model, frames)
    graph = read_graph(model, sides=sides)

    def frames_of(frame):
        return network_input([frame], model.config, model.size_divisor)[0].permute(0, 2, 3, 1).contiguous().numpy()

    # Operations are named after the modules of the network.
    in_float = [rf".*network\.{name}[./].*" for name in float_parts(model)]
    with _without_notices():
        quantized = nncf.quantize(
            graph,
            nncf.Dataset(frames, frames_of),
            preset=nncf.QuantizationPreset.MIXED,  # the logits and kernels have both signs
            model_type=nncf.ModelType.TRANSFORMER if model.features_are_transformer else None,
            subset_size=len(frames),
            # A network that lacks some of these is quantised all the same.
            ignored_scope=nncf.IgnoredScope(offset_nodes(graph, "Convolution"), in_float, validate=False),
        )
    folder = graph_folder(model, QUANTIZED, sides)
    keep_graph(quantized, folder)
    return folder


def one_size(model, frames):
    """What the graph of a network is quantised with.

    Returns:
        ((H, W) of the first frame as the network sees it, all frames that have this size) where graphs hold for one
        size each; else (None, all frames).
    """
    if not model.config.graph_is_sized:
        return None, frames
    sizes = [padded_size([model.config.network_size(*frame.shape[:2])], model.size_divisor) for frame in frames]
    return sizes[0], [frame for frame, size in zip(frames, sizes, strict=True) if size == sizes[0]]


@contextlib.contextmanager
def _without_notices():
    """Silence NNCF, which lists the names of all operations it does not quantise."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
