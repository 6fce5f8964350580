# SPDX-License-Identifier: Apache-2.0
"""TensorRT itself on a GPU: builds, keeps and runs engines that equal the network. Skips itself without either.

A first build takes minutes; give `pytest --timeout 1200`. Random weights compare two ways to compute the same.
"""

import logging

import numpy as np
import pytest
import torch
from test_cuda import small_model

from yoso_ros.inference import Segmenter
from yoso_ros.inference.engines import create_engine
from yoso_ros.inference.preprocess import batch_frames

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


@pytest.fixture
def kept_engines(monkeypatch, tmp_path):
    """An empty cache folder; skips where the library or the exporter is missing."""
    for package in ("tensorrt", "onnx", "onnxscript"):
        pytest.importorskip(package, reason=f"needs {package} with its libraries", exc_type=ImportError)
    monkeypatch.setenv("YOSO_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 0.01), ("fp16", 0.1), ("bf16", 0.3)])
def test_engine_equals_the_network_and_is_kept(kept_engines, caplog, precision, tolerance):
    config, model = small_model()
    frames = list(np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), np.uint8))
    images = batch_frames(frames, config.pixel_mean, 32)
    expected = create_engine("torch", model, "cpu", "fp32")(images)
    engine = create_engine("tensorrt", model, "cuda", precision)
    for _ in range(3):  # as it is, captured, replayed
        for a, e in zip(engine(images), expected, strict=True):
            assert (a.cpu() - e).abs().mean() < tolerance * e.abs().mean()
    assert len(list(kept_engines.glob("*.engine"))) == len(list(kept_engines.glob("*.timing"))) == 1
    with caplog.at_level(logging.INFO, logger="yoso_ros"):
        create_engine("tensorrt", model, "cuda", precision)(images)
    assert "building" not in caplog.text


def test_whole_way_of_a_frame_equals_the_cpu(kept_engines):
    config, model = small_model()
    frame = np.random.default_rng(0).integers(0, 256, (360, 480, 3), np.uint8)
    on_cpu = Segmenter(config, create_engine("torch", model, "cpu", "fp32"))(frame)
    segmenter = Segmenter(config, create_engine("tensorrt", model, "cuda", "fp32"))
    for _ in range(3):
        assert (segmenter(frame).panoptic != on_cpu.panoptic).mean() < 0.01
