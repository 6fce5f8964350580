# SPDX-License-Identifier: Apache-2.0
"""Every family of hub models in every engine that a machine without a GPU has: the outputs of torch."""

import pytest
import torch
from engine_cases import assert_equal_outputs, frames_of
from fake_tensorrt import fake_tensorrt
from hub_checkpoints import write_checkpoint

from yoso_ros.inference.engines import create_engine
from yoso_ros.inference.preprocess import network_input
from yoso_ros.inference.segmenter import load_network

pytest.importorskip("transformers", reason="needs transformers (yoso-ros[hub])")

FAMILIES = ("eomt", "eomt_dinov3", "maskformer", "mask2former", "oneformer")
# Operators that the list of TensorRT 10.0 (docs/operators.md of onnx-tensorrt, opsets 9 to 20) has as supported,
# of those that these graphs may have; LayerNormalization for its first output alone.
PARSED = {
    *("Abs", "Add", "And", "ArgMax", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant"),
    *("ConstantOfShape", "Conv", "ConvTranspose", "Cos", "CumSum", "Div", "Einsum", "Equal", "Erf", "Exp", "Expand"),
    *("Flatten", "Gather", "GatherElements", "GatherND", "Gelu", "Gemm", "Greater", "GreaterOrEqual", "GridSample"),
    *("GroupNormalization", "Identity", "InstanceNormalization", "LayerNormalization", "Less", "LessOrEqual", "Log"),
    *("MatMul", "Max", "MaxPool", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pad", "Pow", "Range", "Reciprocal"),
    *("ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Relu", "Reshape", "Resize", "ScatterElements"),
    *("ScatterND", "Shape", "Sigmoid", "Sin", "Size", "Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Sum"),
    *("Tanh", "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "Where", "Xor"),
}
# By the list for floats only; here it is of booleans.
DOUBTFUL = {"oneformer": {"NonZero"}}


@pytest.fixture(scope="module", params=FAMILIES)
def case(request, tmp_path_factory):
    """(network of a family, its input, its outputs in torch); what the engines keep is in a folder of the family."""
    folder = tmp_path_factory.mktemp(request.param)
    write_checkpoint(request.param, folder)
    network = load_network(folder)
    images = network_input(list(frames_of((1, 48, 80))), network.config, network.size_divisor)[0]
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOSO_CACHE", str(folder / "cache"))
        yield network, images, [tensor.numpy() for tensor in network(images)]


def test_torch_in_bfloat16(case):
    network, images, expected = case
    found = [tensor.numpy() for tensor in create_engine("torch", network, "cpu", "bf16")(images)]
    assert_equal_outputs(found, expected, 0.1)
    assert any((f != e).any() for f, e in zip(found, expected, strict=True))


def test_openvino_in_float32_bfloat16_and_int8(case, monkeypatch):
    for package in ("openvino", "nncf"):
        pytest.importorskip(package, reason=f"needs {package}")
    from yoso_ros.benchmark.throughput import _quantize_for_time
    from yoso_ros.inference.quantize import quantize

    network, images, expected = case
    quantize(network, list(frames_of((2, 48, 80), seed=1)))
    for precision, tolerance in (("fp32", 1e-3), ("bf16", 0.1), ("int8", 0.4)):
        engine = create_engine("openvino", network, "cpu", precision)
        found = [tensor.numpy() for tensor in engine(images)]
        assert_equal_outputs(found, expected, tolerance)
        assert precision != "int8" or (found[1] != expected[1]).any()

    def twice(*_):
        raise AssertionError("it is quantised already")

    # As for times with random weights: what was quantised for this size is used.
    monkeypatch.setattr("yoso_ros.inference.quantize.quantize", twice)
    _quantize_for_time(network, list(frames_of((2, 48, 80), seed=1)))


def test_onnxruntime(case):
    _skip_without_onnx()
    network, images, expected = case
    found = create_engine("onnxruntime", network, "cpu", "fp32")(images)
    assert_equal_outputs([tensor.numpy() for tensor in found], expected, 1e-3)


def test_graph_for_tensorrt(case):
    """The engine up to the library's edge; the stand-in runs the graph in onnxruntime."""
    _skip_without_onnx()
    from yoso_ros.inference.engine_cache import export_onnx
    from yoso_ros.inference.engines.tensorrt import TensorRtEngine

    network, images, expected = case
    engine = TensorRtEngine(fake_tensorrt("10.16.1.11"), network, torch.device("cpu"), "fp32")
    assert_equal_outputs([tensor.numpy() for tensor in engine(images)], expected, 1e-3)
    nodes = export_onnx(network, (1, *images.shape[2:]), "tensorrt").graph.node
    assert {node.op_type for node in nodes} - PARSED == DOUBTFUL.get(network.config.family, set())
    assert all(len(node.output) == 1 for node in nodes if node.op_type == "LayerNormalization")


def _skip_without_onnx():
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"needs {package}")
