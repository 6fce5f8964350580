# SPDX-License-Identifier: Apache-2.0
"""Networks to ONNX graphs: frames in, the network's `Outputs` out, normalisation and padding inside.

Legend: `B` batch, `h w` frame, `H W` the frame padded to multiples of the network's `size_divisor`.
"""

import contextlib
import logging
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import library, nn

from yoso_ros.errors import InputError
from yoso_ros.inference.preprocess import resize_frame
from yoso_ros.models.deformable_conv import ModulatedDeformConv2d, modulated_deform_conv2d

# GridSample in its current form needs opset 20, DeformConv with all of its types opset 22.
VARIANTS = {"portable": 20, "tensorrt": 22}
INPUT_NAME = "frames"
LONGEST_SIDE = 8192  # pixels, for a graph with ranged shapes
LARGEST_BATCH = 64
# For a graph with ranged shapes: no side is a multiple of 4, and on no level of a pyramid (P7 has stride 128) is a side
# 1 or equal to another or to the batch, because the exporter takes such a coincidence for a rule.
TRACED_SHAPE = (2, 261, 390)


@library.custom_op("yoso_ros::deform_conv2d", mutates_args=())
def _deform_conv2d(
    x: torch.Tensor, offset: torch.Tensor, mask: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    return modulated_deform_conv2d(x, offset, mask, weight, form="grid_sample") + bias.view(1, -1, 1, 1)


@_deform_conv2d.register_fake
def _(x, offset, mask, weight, bias):
    return x.new_empty((x.shape[0], weight.shape[0], *x.shape[2:]))


class _DeformConvOperator(nn.Module):
    """A deformable convolution that stays one operator in the graph."""

    def __init__(self, weight):
        super().__init__()
        self.weight = weight
        # TensorRT's parser reads the bias whenever there is a mask, so it must exist.
        self.register_buffer("bias", torch.zeros(weight.shape[0]))

    def forward(self, x, offset, mask):
        return _deform_conv2d(x, offset, mask, self.weight, self.bias)


class FrameNetwork(nn.Module):
    """A network that takes frames in the layout of a camera.

    Args:
        network: a `PanopticNetwork`.
    """

    def __init__(self, network):
        super().__init__()
        self.network = network

    @property
    def output_names(self):
        """Names of the outputs, in order: list of str."""
        return list(self.network.Outputs._fields)

    def forward(self, frames):
        """frames float32 (B, h, w, 3) RGB 0..255 -> the tensors of the network's `Outputs`."""
        network, divisor = self.network, self.network.size_divisor
        images = network.normalize(frames.permute(0, 3, 1, 2))
        if network.config.input_shape is not None:  # frames come padded, in a colour of the model's own
            return tuple(network.forward_head(network.forward_features(images)))
        height, width = images.shape[-2:]
        # Expressed through the padded size first, so that the exporter sees that every stride divides it.
        right = (width + divisor - 1) // divisor * divisor - width
        bottom = (height + divisor - 1) // divisor * divisor - height
        images = F.pad(images, (0, right, 0, bottom))
        return tuple(network.forward_head(network.forward_features(images)))


def prepare(model, variant="portable"):
    """A reparameterised copy of a network as `FrameNetwork` for a variant; equal outputs on padded frames."""
    if variant not in VARIANTS:
        raise InputError(f"variant: expected one of {', '.join(VARIANTS)}, found {variant!r}")
    model = model.reparameterize()
    if variant == "tensorrt":
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, ModulatedDeformConv2d):
                    setattr(parent, name, _DeformConvOperator(child.weight))
    return FrameNetwork(model).eval()


def graph_without_weights(network, shape=None, variant="portable"):
    """Export a prepared network with float32 frames and with its weights as graph inputs, named as in the network.

    Args:
        network: the result of `prepare`.
        shape: (B, h, w) of the only shape that the graph takes, or None for any up to (64, 8192, 8192).
        variant: as passed to `prepare`.

    Returns:
        onnx.ModelProto; this takes seconds (a quarter of a minute for ranged shapes).

    Raises:
        InputError: the packages of the extra "onnx" are missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(
            f'export needs the packages of the extra "onnx" (pip install yoso-ros[onnx]): {error}'
        ) from error
    dim = torch.export.Dim
    # From two cells of the coarsest map on: what holds for one cell alone is no rule for a range, and the exporter
    # would trace the network a second time without it. The graph takes smaller frames all the same.
    least = network.network.size_divisor + 1
    ranges = {
        0: dim("batch", min=1, max=LARGEST_BATCH),
        1: dim("height", min=least, max=LONGEST_SIDE),
        2: dim("width", min=least, max=LONGEST_SIDE),
    }
    frames = torch.zeros(*(shape or TRACED_SHAPE), 3)
    with torch.no_grad(), _without_exporter_messages():
        program = torch.onnx.export(
            network,
            (frames,),
            dynamo=True,
            dynamic_shapes=None if shape else (ranges,),
            input_names=[INPUT_NAME],
            output_names=network.output_names,
            opset_version=VARIANTS[variant],
            custom_translation_table={
                torch.ops.yoso_ros.deform_conv2d.default: _translate_deform_conv2d(),
                torch.ops.aten._is_all_true.default: _translate_is_all_true(),
            },
            optimize=False,
            verbose=False,
        )
    graph = program.model.graph
    weights = named_weights(network)
    for name in [name for name in graph.initializers if name in weights]:
        value = graph.initializers.pop(name)
        value.const_value = None
        graph.inputs.append(value)
    # With the weights as inputs the optimiser leaves them alone and folds only what belongs to the graph.
    program.optimize()
    proto = program.model_proto
    _forget_notes(proto)
    return proto


def named_weights(network):
    """All parameters and buffers of a network by name: dict of tensors."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def fill_weights(proto, network):
    """Complete a graph: turn weight inputs into initialisers with the network's values. Changes and returns `proto`.

    Raises:
        KeyError, ValueError: the graph belongs to a different network.
    """
    import onnx

    weights = named_weights(network)
    inputs = list(proto.graph.input)
    del proto.graph.input[:]
    for value in inputs:
        if value.name == INPUT_NAME:
            proto.graph.input.append(value)
            continue
        array = weights[value.name].detach().cpu().numpy()
        shape = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        if shape != array.shape:
            raise ValueError(f"{value.name}: expected {shape} for this graph, found {array.shape}")
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
    return proto


def take_uint8(proto):
    """Make the frames of a graph uint8 by inserting a cast at the start. Changes and returns `proto`."""
    import onnx

    graph, floats = proto.graph, f"{INPUT_NAME}_float32"
    for node in graph.node:
        node.input[:] = [floats if name == INPUT_NAME else name for name in node.input]
    graph.node.insert(0, onnx.helper.make_node("Cast", [INPUT_NAME], [floats], to=onnx.TensorProto.FLOAT))
    (frames,) = (value for value in graph.input if value.name == INPUT_NAME)
    frames.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    return proto


def compare_with_network(proto, model, shape, pictures=None):
    """Run a graph with onnxruntime and its network with torch on the same frames.

    Args:
        proto: the result of `export_onnx`.
        model: the network that was exported, in evaluation mode.
        shape: (B, h, w) of the frames.
        pictures: list of uint8 (H, W, 3) RGB, resized to that shape; None generates smooth colours with a little noise.

    Returns:
        dict of output name to the maximum difference divided by the maximum absolute value.

    Raises:
        ImportError: onnxruntime is not installed.
    """
    import onnxruntime

    frames = _made_frames(shape)
    if pictures:
        resized = [resize_frame(pictures[index % len(pictures)], shape[1:]) for index in range(shape[0])]
        frames = torch.from_numpy(np.stack(resized))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    network = FrameNetwork(model)
    actual = session.run(network.output_names, {INPUT_NAME: frames.numpy()})
    with torch.no_grad():
        expected = network(frames.float())
    return {
        name: float((torch.from_numpy(a) - e).abs().max() / e.abs().max())
        for name, a, e in zip(network.output_names, actual, expected, strict=True)
    }


def _made_frames(shape):
    generator = torch.Generator().manual_seed(0)
    colours = F.interpolate(torch.rand(shape[0], 3, 6, 8, generator=generator), shape[1:], mode="bicubic")
    noise = 0.05 * torch.randn(colours.shape, generator=generator)
    return (255 * (colours + noise).clamp(0, 1)).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _forget_notes(proto):
    """Drop the exporter's notes on the source lines of every node, which contain local paths; no engine reads them."""
    graph = proto.graph
    for item in (proto, graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        item.ClearField("metadata_props")


def _translate_deform_conv2d():
    from onnxscript import opset22

    def deform_conv2d(x, offset, mask, weight, bias):
        return opset22.DeformConv(x, weight, offset, bias, mask, kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    return deform_conv2d


def _translate_is_all_true():
    """For checks inside networks, such as OneFormer's of its sizes: torch's exporter has no translation of it."""
    from onnx import TensorProto
    from onnxscript import opset20

    def is_all_true(x):
        return opset20.Cast(opset20.ReduceMin(opset20.Cast(x, to=TensorProto.INT32), keepdims=0), to=TensorProto.BOOL)

    return is_all_true


@contextlib.contextmanager
def _without_exporter_messages():
    """Silence the exporter, which reports every step, and on every call that torchvision (not used here) is missing."""
    names = ("torch.onnx", "torch.onnx._internal.exporter._registration", "onnxscript", "onnx_ir")
    levels = [(logger, logger.level) for logger in map(logging.getLogger, names)]
    for logger, _ in levels:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about names inside the exporter
            yield
    finally:
        for logger, level in levels:
            logger.setLevel(level)
