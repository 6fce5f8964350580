# SPDX-License-Identifier: Apache-2.0
"""Flipped bytes in what is kept, in weights and in outputs: never a wrong answer in silence."""

import dataclasses

import numpy as np
import pytest
import torch
from engine_cases import frames_of, tiny

from yoso_ros.checkpoint import load_weights, read_torch_file, save_checkpoint
from yoso_ros.errors import InputError
from yoso_ros.inference import Segmenter
from yoso_ros.inference.device_path import DevicePath
from yoso_ros.inference.engines import create_engine
from yoso_ros.inference.engines.torch_cuda import TorchCudaEngine
from yoso_ros.inference.kept_files import read_kept, write_kept
from yoso_ros.inference.preprocess import batch_frames


def flip(path, count=50):
    content = bytearray(path.read_bytes())
    for position in np.random.default_rng(0).integers(len(content) // 4, len(content), count):
        content[position] ^= 0x5A
    path.unlink()  # it may be mapped
    path.write_bytes(content)


@pytest.mark.parametrize("damaged", ["graph.bin", "graph.xml", "compiled/*.blob"])
def test_a_damaged_openvino_graph_is_made_again_and_said(damaged, tmp_path, monkeypatch, caplog):
    pytest.importorskip("openvino", reason="needs openvino")
    model = tiny()
    monkeypatch.setenv("YOSO_CACHE", str(tmp_path))
    images = batch_frames(list(frames_of((1, 64, 90))), model.config.pixel_mean, 32)
    expected = [t.numpy() for t in create_engine("openvino", model, "cpu", "fp32")(images)]
    (path,) = tmp_path.glob(f"*-openvino-*/{damaged}")
    flip(path)
    outputs = create_engine("openvino", model, "cpu", "fp32")(images)
    assert "is damaged (a digest differs): making it again" in caplog.text
    assert all(np.array_equal(a.numpy(), e) for a, e in zip(outputs, expected, strict=True))
    caplog.clear()
    create_engine("openvino", model, "cpu", "fp32")
    assert "damaged" not in caplog.text


def test_a_kept_file_without_its_digest_or_with_another_is_not_read(tmp_path, caplog):
    path = tmp_path / "graph.onnx"
    write_kept(path, b"content")
    assert read_kept(path) == b"content" and read_kept(tmp_path / "none") is None and not caplog.text
    path.write_bytes(b"cOntent")
    assert read_kept(path) is None and "graph.onnx is damaged" in caplog.text
    path.write_bytes(b"content")
    path.with_name("graph.onnx.sha256").unlink()
    assert read_kept(path) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value, tmp_path):
    model = tiny()
    weights = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    weights["neck.output_conv.weight"].view(-1)[3] = value
    save_checkpoint(tmp_path / "bad.safetensors", weights, model.config, {})
    with pytest.raises(InputError, match="expected finite weights .* found others in neck.output_conv.weight"):
        load_weights(model, tmp_path / "bad.safetensors")


def test_negative_variances_are_refused(tmp_path):
    model = tiny()
    weights = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    key = next(key for key in weights if key.endswith("running_var"))
    weights[key][0] = -1.0
    torch.save(weights, tmp_path / "bad.pth")
    with pytest.raises(InputError, match=f"variances of 0 or more, found others in {key}"):
        load_weights(model, tmp_path / "bad.pth")


def test_a_damaged_or_empty_pth_is_one_line(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.arange(4000.0)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(np.arange(4000, dtype=np.float32).tobytes()[4000:4100])] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="weights.pth is damaged: the checksum of .* differs"):
        read_torch_file(path)
    for broken in (b"", b"nothing of the kind", bytes(content[:500])):
        path.write_bytes(broken)
        with pytest.raises(InputError, match="expected a PyTorch weights file without code") as error:
            read_torch_file(path)
        assert "weights_only" not in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("way", ["host", "device"])
def test_a_frame_with_outputs_that_are_not_finite_fails_with_its_cause(way):
    model = tiny()
    config = dataclasses.replace(model.config, shortest_edge=64)
    frame = frames_of((1, 64, 90))[0]
    with torch.no_grad():
        model.decoder.stages[-1].mask_predictor.bias[0] = float("nan")
    if way == "host":
        segmenter = Segmenter(config, create_engine("torch", model, "cpu", "fp32"))
    else:
        segmenter = Segmenter(config, TorchCudaEngine(model, torch.device("cpu"), "fp32"))
        segmenter._path = DevicePath(config, segmenter.engine)
    with pytest.raises(InputError, match="outputs are not finite in torch-cpu-fp32"):
        segmenter(frame)
