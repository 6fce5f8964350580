# SPDX-License-Identifier: Apache-2.0
"""Half precision written into the graph: where it is, where it is not, and what it computes."""

import numpy as np
import pytest
from engine_cases import expected_outputs, frames_of, run_graph, tiny

SHAPE = (1, 64, 96)
PARTS = ("backbone", "neck")


@pytest.fixture(scope="module")
def exported():
    """A small network and the bytes of its TensorRT graph with float32 frames of one shape."""
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason=f"export needs {package}")
    from yoso_ros.inference.export import fill_weights, graph_without_weights, prepare

    model = tiny()
    network = prepare(model, "tensorrt")
    return model, fill_weights(graph_without_weights(network, SHAPE, "tensorrt"), network).SerializeToString()


def element_types(proto):
    """Tensor name to ONNX type, for all tensors of a graph."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(proto, strict_mode=True).graph
    types = {i.name: i.data_type for i in graph.initializer}
    return types | {v.name: v.type.tensor_type.elem_type for v in [*graph.value_info, *graph.input, *graph.output]}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_islands_stay_in_float32(exported, precision):
    import onnx

    from yoso_ros.inference.onnx_precision import HALF_TYPES, reduce_precision

    proto = reduce_precision(onnx.load_from_string(exported[1]), precision, PARTS)
    onnx.checker.check_model(proto, full_check=True)
    types = element_types(proto)
    half, single = getattr(onnx.TensorProto, HALF_TYPES[precision]), onnx.TensorProto.FLOAT
    by_operator = {}
    for node in proto.graph.node:
        by_operator.setdefault(node.op_type, []).append({types[name] for name in (node.input[0], *node.output)})
    assert by_operator["DeformConv"] == [{single}] * 3
    for operator in ("Softmax", "LayerNormalization", "MatMul", "Sigmoid", "BatchNormalization"):
        assert by_operator[operator] and all(found == {single} for found in by_operator[operator]), operator
    assert by_operator["ConvTranspose"] == [{half}] * 3 and {half} in by_operator["Resize"]
    # All convolutions: those of the decoder are products with the map, see `ProjectedDecoder`.
    assert by_operator["Conv"].count({half}) == len(by_operator["Conv"]) > 20
    assert [types[v.name] for v in [*proto.graph.input, *proto.graph.output]] == [single] * 3
    casts = by_operator["Cast"]
    assert len(casts) < 30, "precision changes back and forth"


def test_float16_graph_computes_nearly_the_same(exported):
    import onnx

    from yoso_ros.inference.onnx_precision import reduce_precision

    model, graph = exported
    frames = frames_of(SHAPE)
    expected = expected_outputs(model, frames)
    actual = run_graph(reduce_precision(onnx.load_from_string(graph), "fp16", PARTS), frames.astype(np.float32))
    errors = [np.abs(a - e).mean() / np.abs(e).mean() for a, e in zip(actual, expected, strict=True)]
    assert 1e-6 < max(errors) < 2e-2, errors
    assert len(graph) * 0.75 > len(reduce_precision(onnx.load_from_string(graph), "fp16", PARTS).SerializeToString())


def test_float32_stays_as_it_is_and_other_graphs_are_refused(exported):
    import onnx

    from yoso_ros.inference.onnx_precision import reduce_precision

    proto = onnx.load_from_string(exported[1])
    assert reduce_precision(proto, "fp32", PARTS).SerializeToString() == exported[1]
    with pytest.raises(ValueError, match=r"expected a graph with weights network\.backbone\.\*, network\.neck"):
        reduce_precision(onnx.ModelProto(), "fp16", PARTS)
