# SPDX-License-Identifier: Apache-2.0
"""A model of the hub in the engines: the graph of one input size, its int8 form, and bfloat16 of torch."""

import pytest
import torch
from engine_cases import assert_equal_outputs, frames_of
from hub_checkpoints import write_checkpoint

from yoso_ros.errors import InputError
from yoso_ros.inference.engines import create_engine
from yoso_ros.inference.preprocess import network_input
from yoso_ros.inference.segmenter import load_network
from yoso_ros.models.hugging_face.config import HuggingFaceConfig

pytest.importorskip("transformers", reason="needs transformers (yoso-ros[hub])")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A small EoMT."""
    folder = tmp_path_factory.mktemp("eomt")
    write_checkpoint("eomt", folder)
    return load_network(folder)


def images_of(network, count=2):
    return network_input(list(frames_of((count, 48, 80))), network.config, network.size_divisor)[0]


def test_graph_of_one_size_and_its_int8_form(network, tmp_path, monkeypatch):
    pytest.importorskip("openvino", reason="needs openvino")
    pytest.importorskip("nncf", reason="needs nncf")
    from yoso_ros.inference import openvino_graph
    from yoso_ros.inference.quantize import quantize

    monkeypatch.setenv("YOSO_CACHE", str(tmp_path))
    # As of networks whose graphs hold for one size each, which is then part of what is kept.
    monkeypatch.setattr(HuggingFaceConfig, "graph_is_sized", property(lambda _: True))
    images = images_of(network)
    with torch.no_grad():
        expected = network(images)
    engine = create_engine("openvino", network, "cpu", "fp32")
    for count in (1, 2):
        found = engine(images[:count])
        assert_equal_outputs([t.numpy() for t in found], [t[:count].numpy() for t in expected])
    assert openvino_graph.graph_folder(network, openvino_graph.FULL, (64, 64)).is_dir()
    quantize(network, list(frames_of((3, 48, 80), seed=1)))
    graph = openvino_graph.read_quantized_graph(network, (64, 64))
    names = [op.get_friendly_name() for op in graph.get_ops() if op.get_type_name() == "FakeQuantize"]
    assert len(names) > 2 and not any("network.head" in name for name in names)
    int8 = create_engine("openvino", network, "cpu", "int8")(images)
    assert 0 < (int8[1] - expected[1]).abs().max() < 0.3 * expected[1].abs().max()


def test_onnx_graph_of_one_shape(network, tmp_path, monkeypatch):
    for package in ("onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason=f"needs {package}")
    from yoso_ros.inference.engine_cache import export_onnx

    monkeypatch.setenv("YOSO_CACHE", str(tmp_path))
    images = images_of(network, 1)
    with torch.no_grad():
        expected = network(images)
    found = create_engine("onnxruntime", network, "cpu", "fp32")(images)
    assert_equal_outputs([t.numpy() for t in found], [t.numpy() for t in expected])
    with pytest.raises(InputError, match="graphs of one size only: give --size 64x64"):
        export_onnx(network)
    with pytest.raises(InputError, match="frames that were made 64x64.*found 48x80"):
        export_onnx(network, (1, 48, 80))


def test_a_network_that_cannot_be_exported_is_told_in_one_line(network, tmp_path, monkeypatch):
    from yoso_ros.inference import engine_cache, openvino_graph

    def fail(*_):
        raise torch.onnx.OnnxExporterError("no way\nto write it")  # a RuntimeError, as the tracer's

    monkeypatch.setenv("YOSO_CACHE", str(tmp_path))
    monkeypatch.setattr(engine_cache, "graph_without_weights", fail)
    with pytest.raises(InputError, match="cannot export .* to ONNX; use engine openvino or torch .no way to write it"):
        engine_cache.engine_graph(network, (1, 64, 64))
    monkeypatch.setattr(openvino_graph, "convert", fail)
    monkeypatch.setattr(openvino_graph, "_version", lambda: "")
    with pytest.raises(InputError, match="cannot be converted for OpenVINO; use engine torch .no way to write it"):
        openvino_graph.read_graph(network)


def test_bfloat16_of_torch(network):
    images = images_of(network)
    with torch.no_grad():
        expected = network(images)
    found = create_engine("torch", network, "cpu", "bf16")(images)
    assert all(tensor.dtype == torch.float32 for tensor in found)
    assert 0 < (found[1] - expected[1]).abs().max() < 0.1 * expected[1].abs().max()
    assert found[0].isfinite().all()
