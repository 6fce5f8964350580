# SPDX-License-Identifier: Apache-2.0
"""Post-training quantisation to int8 for the OpenVINO engine, with NNCF and a user's own frames.

What decides where something is sampled stays in float: the convolutions that make the offsets and the modulation of the
deformable convolutions. So does the decoder, a sixteenth of the work, whose masks are cut at a threshold: in int8 it
cost the small model 10 PQ on CamVid, backbone and neck together less than 1 (docs/engines.md).
"""

import contextlib
import logging

from yoso_ros.errors import InputError
from yoso_ros.inference.openvino_graph import QUANTIZED, graph_folder, keep_graph, read_graph
from yoso_ros.inference.preprocess import batch_frames, network_size, resize_frame

# Operations through which an offset or a modulation mask comes from the convolution that makes it.
_PASSED = {"VariadicSplit", "Split", "Sigmoid", "Slice", "StridedSlice", "Convert", "Add"}
_OFFSET, _MASK = 1, 3  # inputs of a DeformableConvolution
_FLOAT_PARTS = (r".*network\.decoder\..*",)  # by the names that operations have from the modules of the network


def quantize(model, frames):
    """Quantise a network and keep the graph where the engine with precision int8 looks for it.

    Args:
        model: a `Yoso`; it stays as it is.
        frames: list of uint8 (h, w, 3) RGB such as the network will see; some tens to hundreds.

    Returns:
        `Path` of the folder that holds the graph.

    Raises:
        InputError: the package nncf or openvino is missing, or there is no frame.
        OSError: the graph cannot be written.
    """
    try:
        import nncf
        import openvino
    except ImportError as error:
        raise InputError(
            f'int8 needs the packages of the extra "quantize" (pip install yoso-ros[quantize]): {error}'
        ) from error
    if not frames:
        raise InputError("calibration: expected at least one frame, found none")
    graph = read_graph(openvino.Core(), model)
    config = model.config

    def network_input(frame):
        size = network_size(*frame.shape[:2], config.shortest_edge, config.longest_edge)
        images = batch_frames([resize_frame(frame, size)], config.pixel_mean)
        return images.permute(0, 2, 3, 1).contiguous().numpy()

    with _without_notices():
        quantized = nncf.quantize(
            graph,
            nncf.Dataset(frames, network_input),
            preset=nncf.QuantizationPreset.MIXED,  # the logits and kernels have both signs
            subset_size=len(frames),
            # A network without one of them is quantised all the same.
            ignored_scope=nncf.IgnoredScope(offset_convolutions(graph), list(_FLOAT_PARTS), validate=False),
        )
    folder = graph_folder(model, QUANTIZED)
    keep_graph(quantized, folder)
    return folder


def offset_convolutions(graph):
    """Names of the convolutions that make offsets and masks of deformable convolutions in an OpenVINO model: sorted."""
    found = set()
    for node in graph.get_ops():
        if node.get_type_name() != "DeformableConvolution":
            continue
        waiting = [node.input_value(index).get_node() for index in (_OFFSET, _MASK)]
        while waiting:
            source = waiting.pop()
            if source.get_type_name() == "Convolution":
                found.add(source.get_friendly_name())
            elif source.get_type_name() in _PASSED:
                waiting += [value.get_node() for value in source.input_values()]
    return sorted(found)


@contextlib.contextmanager
def _without_notices():
    """NNCF tells the names of all operations that it leaves alone."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
