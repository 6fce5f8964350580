# SPDX-License-Identifier: Apache-2.0
"""int8: what stays in float does, the kept graph serves the engine and no other weights, the command, its errors."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from engine_cases import SMALL, frames_of, tiny

from yoso_ros.cli import main
from yoso_ros.errors import InputError
from yoso_ros.inference import openvino_graph
from yoso_ros.inference.engines import create_engine
from yoso_ros.inference.preprocess import batch_frames

openvino = pytest.importorskip("openvino", reason="needs openvino")
pytest.importorskip("nncf", reason="needs the extra quantize")


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    """A small network, the cache folder with its int8 graph, and that graph."""
    from yoso_ros.inference.quantize import quantize

    model = tiny()
    model.config = dataclasses.replace(model.config, shortest_edge=96, longest_edge=128)
    cache = tmp_path_factory.mktemp("int8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOSO_CACHE", str(cache))
        folder = quantize(model, list(frames_of((3, 96, 128))))
    return model, cache, openvino_graph.process_core().read_model(folder / openvino_graph.GRAPH_FILE)


def quantized_operations(graph):
    """Names of the convolutions and products whose inputs are quantised."""
    return {
        node.get_friendly_name()
        for node in graph.get_ops()
        if node.get_type_name() in ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul")
        and node.input_value(0).get_node().get_type_name() == "FakeQuantize"
    }


def test_backbone_and_neck_are_quantised_and_offsets_and_decoder_are_not(quantized):
    names = quantized_operations(quantized[2])
    assert sum("backbone" in name for name in names) > 15 and sum("laterals" in name for name in names) == 4
    assert not [name for name in names if "offset" in name or "decoder" in name]
    for node in quantized[2].get_ops():
        if node.get_type_name() == "Softmax":
            assert node.input_value(0).get_node().get_type_name() != "FakeQuantize"


def test_offset_convolutions_are_found_in_the_graph(quantized, monkeypatch):
    monkeypatch.setenv("YOSO_CACHE", str(quantized[1]))
    names = openvino_graph.offset_nodes(openvino_graph.read_graph(quantized[0]), "Convolution")
    assert len(names) == 3 and all(f"upsamples.{i}.offset" in name for i, name in enumerate(names))


def test_engine_runs_the_kept_graph_near_the_network_for_another_size(quantized, monkeypatch):
    model, cache, _ = quantized
    monkeypatch.setenv("YOSO_CACHE", str(cache))
    engine = create_engine("openvino", model, "cpu", "int8")
    assert engine.backend == "openvino-cpu-int8"
    images = batch_frames(list(frames_of((2, 64, 160), seed=5)), model.config.pixel_mean, 32)
    mask_logits = engine(images)[1].numpy()
    with torch.no_grad():
        expected = model(images).mask_logits.numpy()
    assert mask_logits.shape == expected.shape
    # Eight bits, and random weights whose masks are cut at a threshold: alike, not equal.
    assert np.corrcoef(mask_logits.ravel(), expected.ravel())[0, 1] > 0.9
    assert np.abs(mask_logits - expected).max() > 1e-3 * np.abs(expected).max(), "this is not int8"


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_sampling_stays_in_float32(quantized, monkeypatch, precision):
    model, cache, _ = quantized
    monkeypatch.setenv("YOSO_CACHE", str(cache))
    engine = create_engine("openvino", model, "cpu", precision)
    capabilities = openvino_graph.process_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    nodes = {}
    for node in engine._requests[None].get_compiled_model().get_runtime_model().get_ops():
        info = {key: str(node.get_rt_info()[key].value) for key in ("layerType", "outputPrecisions")}
        nodes.setdefault(info["layerType"], []).append((node.get_friendly_name(), info["outputPrecisions"]))
    assert [found for _, found in nodes["DeformableConvolution"]] == ["f32"] * 3
    assert any(found == "bf16" for kind in nodes.values() for _, found in kind) == ("BF16" in capabilities)
    offsets = [found for name, found in nodes["Convolution"] if ".offset" in name]
    assert len(offsets) == 3 and set(offsets) == {"f32"}


def test_other_weights_and_an_empty_cache_are_told_what_to_do(quantized, monkeypatch, tmp_path):
    model, cache, _ = quantized
    monkeypatch.setenv("YOSO_CACHE", str(cache))
    other = tiny()
    with torch.no_grad():
        next(other.parameters()).mul_(1.1)
    with pytest.raises(InputError, match="precision int8 needs a graph .* yoso-ros quantize --model"):
        create_engine("openvino", other, "cpu", "int8")
    monkeypatch.setenv("YOSO_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="precision int8 needs a graph"):
        create_engine("openvino", model, "cpu", "int8")


def test_command_quantises_with_a_folder_of_images(monkeypatch, tmp_path, capsys):
    from yoso_ros.inference import quantize as room
    from yoso_ros.inference import segmenter

    given = []

    def quantize(model, frames):
        given.extend(frames)
        (tmp_path / "kept").mkdir()
        (tmp_path / "kept" / "graph.bin").write_bytes(b"x" * 2_000_000)
        return tmp_path / "kept"

    monkeypatch.setattr(room, "quantize", quantize)
    monkeypatch.setattr(segmenter, "load_network", lambda *a: None)
    frames = frames_of((9, 40, 50))
    (tmp_path / "images").mkdir()
    for index, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / "images" / f"{index}.png"), frame[..., ::-1])
    command = ["quantize", "--calibration", str(tmp_path / "images"), "--frames", "4"]
    assert main([*command, "--output", str(tmp_path / "copy")]) == 0
    assert len(given) == 4 and all(np.array_equal(g, frames[2 * i]) for i, g in enumerate(given))
    assert "4 frames; int8 graph of 2.0 MB" in capsys.readouterr().out
    assert (tmp_path / "copy" / "graph.bin").stat().st_size == 2_000_000


def test_bad_arguments_exit_with_2(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("YOSO_CACHE", str(tmp_path / "cache"))
    assert main(["quantize", "--calibration", str(tmp_path / "none")]) == 2
    assert "no such source" in capsys.readouterr().err
    assert main(["quantize", "--calibration", "synthetic", "--frames", "0"]) == 2
    assert "--frames: expected at least 1" in capsys.readouterr().err


def test_missing_package_is_said(quantized, monkeypatch):
    import sys

    from yoso_ros.inference.quantize import quantize

    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(InputError, match=r"pip install yoso-ros\[quantize\]"):
        quantize(quantized[0], list(frames_of((1, 64, 64))))


def test_only_the_last_graphs_of_a_kind_are_kept(quantized, tmp_path):
    import os

    graph = quantized[2]
    for index in range(6):
        folder = tmp_path / f"{SMALL}-openvino-{index:016d}"
        openvino_graph.keep_graph(graph, folder)
        os.utime(folder, (index, index))
    (tmp_path / f"{SMALL}-openvino-int8-{0:016d}").mkdir()
    openvino_graph.keep_graph(graph, folder)
    left = sorted(path.name[-1] for path in tmp_path.glob(f"{SMALL}-openvino-0*"))
    assert left == ["2", "3", "4", "5"] and (tmp_path / f"{SMALL}-openvino-int8-{0:016d}").is_dir()
    assert not list(tmp_path.glob(".graph-*"))


def test_broken_or_unwritable_cache_is_no_obstacle(quantized, tmp_path, monkeypatch, caplog):
    model, _, graph = quantized
    monkeypatch.setattr(openvino_graph, "convert", lambda *_: graph)
    monkeypatch.setenv("YOSO_CACHE", str(tmp_path))
    folder = openvino_graph.graph_folder(model, openvino_graph.FULL)
    folder.mkdir()
    (folder / openvino_graph.GRAPH_FILE).write_text("<net")
    assert openvino_graph.read_graph(model) is not None
    assert "is damaged" in caplog.text and (folder / "graph.bin").is_file()
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("YOSO_CACHE", str(tmp_path / "file"))
    assert openvino_graph.read_graph(model) is not None
    assert "cannot be kept" in caplog.text
