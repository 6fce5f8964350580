# SPDX-License-Identifier: Apache-2.0
"""Networks, frames and comparisons for the tests of exports and engines."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from yoso_ros.inference.preprocess import batch_frames
from yoso_ros.models import create_model, load_config
from yoso_ros.models.yoso.official_checkpoint import load_official_state_dict

SMALL = "yoso_mobilenetv2_camvid"
TOLERANCE = 1e-3  # of the largest absolute value


def network(config):
    """A network with random weights and batch statistics that are not the neutral ones of a new layer."""
    torch.manual_seed(0)
    model = create_model(config).eval()
    for module in model.modules():
        if hasattr(module, "running_var"):
            torch.nn.init.normal_(module.running_mean, std=0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.3)
    return model


def tiny():
    """A network that is quick to export, with every kind of layer."""
    changes = {"backbone": "resnet18", "pyramid_channels": (16, 16, 32, 32), "num_stages": 1, "num_attention_blocks": 1}
    return network(dataclasses.replace(load_config(SMALL), **changes))


def golden_network(name, golden, monkeypatch):
    """The network of a yoso_r50 configuration with the golden numbers as weights."""
    monkeypatch.syspath_prepend(str(golden))
    import fill

    model = create_model(load_config(f"yoso_r50_{name}")).eval()
    keys = json.loads((golden / f"keys_{name}.json").read_text())
    load_official_state_dict(model, {k: torch.from_numpy(np.asarray(fill.value(k, s))) for k, s, _ in keys})
    return model


def frames_of(shape, seed=0):
    """uint8 (B, h, w, 3): colours that change slowly, with noise."""
    batch, height, width = shape
    generator = np.random.default_rng(seed)
    frames = []
    for _ in range(batch):
        coarse = Image.fromarray(generator.integers(0, 256, (6, 8, 3), np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32)
        frames.append((smooth + generator.normal(0, 8, smooth.shape)).clip(0, 255).astype(np.uint8))
    return np.stack(frames)


def expected_outputs(model, frames):
    """The outputs of the network itself: a tuple of numpy arrays."""
    with torch.no_grad():
        outputs = model(batch_frames(list(frames), model.config.pixel_mean, model.size_divisor))
    return tuple(output.numpy() for output in outputs)


def assert_equal_outputs(actual, expected, tolerance=TOLERANCE):
    for index, (a, e) in enumerate(zip(actual, expected, strict=True)):
        assert a.shape == e.shape, index
        assert np.abs(a - e).max() <= tolerance * np.abs(e).max(), index


def run_graph(proto, frames):
    """Outputs of an exported graph, by onnxruntime: list of numpy arrays."""
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["frames"]
    return session.run(None, {"frames": frames})


def operators(proto):
    """Operator names of a graph's nodes, in order."""
    return [node.op_type for node in proto.graph.node]
