# SPDX-License-Identifier: Apache-2.0
"""The whole way on one device, here on CPU tensors, against the way of the CPU; the precision of its network.

Random weights compare two ways to compute the same, nothing else.
"""

import contextlib
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from engine_cases import assert_equal_outputs, expected_outputs, frames_of, tiny

from yoso_ros.inference import Segmenter, by_shape
from yoso_ros.inference.by_shape import ByShape
from yoso_ros.inference.cuda_graphs import Captured
from yoso_ros.inference.device_path import DevicePath, create_device_path
from yoso_ros.inference.engines import create_engine
from yoso_ros.inference.engines.torch_cuda import TorchCudaEngine
from yoso_ros.inference.precision import EngineNetwork
from yoso_ros.inference.preprocess import batch_frames

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model():
    """A small network whose proposals are not all void."""
    model = tiny()
    for stage in model.decoder.stages:
        torch.nn.init.normal_(stage.class_predictor.weight, std=2.0)
    return model


@pytest.fixture(scope="module")
def segmenter(model):
    config = dataclasses.replace(model.config, score_threshold=0.05, overlap_threshold=0.1, shortest_edge=120)
    return Segmenter(config, create_engine("torch", model, "cpu", "fp32"))


def device_path(model, config):
    """The way of a device on CPU tensors, as a function from frames and configuration to results."""
    path = DevicePath(config, TorchCudaEngine(model, CPU, "fp32"))
    return lambda frames, config: [path.merge(one) for one in path.infer(path.prepare(frames, config))]


def test_results_equal_those_of_the_cpu(model, segmenter):
    path = device_path(model, segmenter.config)
    shapes = [((101, 77),), ((120, 200), (90, 133)), ((101, 77),)]
    for seed, batch in enumerate(shapes):
        frames = [frames_of((1, *shape), seed)[0] for shape in batch]
        expected, actual = segmenter.batch(frames), path(frames, segmenter.config)
        for a, e in zip(actual, expected, strict=True):
            assert len(e.segments) > 1
            # Where the resize of the device is a grey level off, a border may move.
            assert (a.panoptic != e.panoptic).mean() < 2e-3
            assert a.panoptic.dtype == np.uint16 and np.array_equal(a.panoptic >> 8, a.semantic)
            assert [s.id for s in a.segments] == [s.id for s in e.segments]
            areas = dict(zip(*np.unique(a.panoptic, return_counts=True), strict=True))
            assert all(areas[s.id] == s.area for s in a.segments)
            assert (a.confidence == 0).tolist() == (a.panoptic == 65535).tolist()


def test_instances_and_semantic_maps_come_from_the_pass_of_the_device(model, segmenter):
    """Their evaluation on a GPU measures the way of the node, not another one."""
    on_device = Segmenter(segmenter.config, TorchCudaEngine(model, CPU, "fp32"))
    on_device.engine.synchronize = lambda: None
    calls = []
    path = on_device._path = DevicePath(segmenter.config, on_device.engine)
    infer = path.infer
    path.infer = lambda prepared: calls.append(1) or infer(prepared)
    frame = frames_of((1, 101, 77))[0]
    tasks = ("panoptic", "instance", "semantic")
    actual, expected = on_device.outputs(frame, tasks), segmenter.outputs(frame, tasks)
    assert calls == [1]
    assert (actual.panoptic.panoptic != expected.panoptic.panoptic).mean() < 2e-3
    assert (actual.semantic != expected.semantic).mean() < 2e-3
    assert torch.allclose(actual.instances.scores, expected.instances.scores, atol=1e-2)
    assert on_device.outputs(frame, ("semantic",)).panoptic is None


def test_another_size_runs_at_that_size_and_leaves_the_first(model):
    config = dataclasses.replace(model.config, shortest_edge=64, longest_edge=90)
    path = DevicePath(config, TorchCudaEngine(model, CPU, "fp32"))
    segmenter = Segmenter(config, TorchCudaEngine(model, CPU, "fp32"))
    segmenter._path = path
    other = segmenter.at_size(96, 130)
    assert (other.config.shortest_edge, segmenter.config.shortest_edge) == (96, 64)
    with pytest.raises(AttributeError):
        segmenter.config = config
    seen = []
    engine_forward = segmenter.engine.forward
    segmenter.engine.forward = lambda images: seen.append(tuple(images.shape[2:])) or engine_forward(images)
    frame = frames_of((1, 64, 90))[0]
    for one in (segmenter, other):
        path = DevicePath(one.config, one.engine)
        path.infer(path.prepare([frame], one.config))
    assert seen == [(64, 96), (96, 160)]


def test_results_stay_when_the_next_frame_comes(model, segmenter):
    path = device_path(model, segmenter.config)
    frames = frames_of((2, 64, 90))
    (first,) = path([frames[0]], segmenter.config)
    before = first.panoptic.copy(), first.confidence.copy()
    (second,) = path([frames[1][::-1]], segmenter.config)
    assert np.array_equal(first.panoptic, before[0]) and np.array_equal(first.confidence, before[1])
    assert not np.array_equal(first.panoptic, second.panoptic)


def test_thresholds_act_on_the_next_frame_of_the_same_shape(model, segmenter):
    path = device_path(model, segmenter.config)
    frame = frames_of((1, 64, 90))[0]
    assert path([frame], segmenter.config)[0].segments
    assert not path([frame], dataclasses.replace(segmenter.config, score_threshold=1.0))[0].segments
    strict = dataclasses.replace(segmenter.config, overlap_threshold=1.0)
    assert len(path([frame], strict)[0].segments) < len(path([frame], segmenter.config)[0].segments)


def test_a_cpu_and_too_many_proposals_take_the_other_way(segmenter):
    assert create_device_path(segmenter.config, segmenter.engine) is None
    many = dataclasses.replace(segmenter.config, num_proposals=256)
    assert create_device_path(many, SimpleNamespace(device=torch.device("cuda"))) is None


def test_network_of_a_device_equals_the_network(model):
    frames = frames_of((2, 64, 160))
    images = batch_frames(list(frames), model.config.pixel_mean, 32)
    expected = expected_outputs(model, frames)
    engine = TorchCudaEngine(model, CPU, "fp32")
    assert_equal_outputs([t.numpy() for t in engine(images)], expected)
    half = EngineNetwork(model, "bf16")
    with torch.inference_mode():
        outputs = half(images)
    assert all(t.dtype == torch.float32 for t in outputs)
    dtypes = {name: parameter.dtype for name, parameter in half.named_parameters()}
    for name, dtype in dtypes.items():
        single = name.startswith("network.decoder") or "deform_norm" in name
        assert dtype == (torch.float32 if single else torch.bfloat16), name
    assert all(p.dtype == torch.float32 for p in model.parameters()), "the model itself was changed"
    errors = [np.abs(a.numpy() - e).mean() / np.abs(e).mean() for a, e in zip(outputs, expected, strict=True)]
    assert max(errors) < 0.1


def test_sampling_positions_keep_float32_on_half_precision_maps():
    """On stripes of 0 and 1 the sampled value tells the position; in float16 it would be off by up to 0.06 pixels."""
    from yoso_ros.models.deformable_conv import modulated_deform_conv2d

    width = 240
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 1, 1] = 1.0
    stripes = (torch.arange(width, dtype=torch.float16) % 2).expand(1, 1, 4, width).contiguous()
    offset = torch.zeros(1, 18, 4, width, dtype=torch.float16)
    offset[:, 1::2] = 0.03125
    mask = torch.ones(1, 9, 4, width, dtype=torch.float16)
    with torch.inference_mode():
        sampled = modulated_deform_conv2d(stripes, offset, mask, weight.half()).float()
    inside = sampled[..., 1:-1]
    expected = torch.where(torch.arange(width) % 2 == 0, 0.03125, 1 - 0.03125)[1:-1].expand_as(inside)
    assert torch.allclose(inside, expected, atol=1e-3)


def test_shapes_are_kept_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(by_shape, "KEPT_SHAPES", 2)
    made = []
    kept = ByShape(lambda shape: made.append(shape) or [shape])
    for shape in (1, 2, 1, 3, 1, 2):
        assert kept[shape] == [shape]
    assert made == [1, 2, 3, 2] and len(kept) == 2


def test_what_is_not_captured_runs_every_time():
    counts = iter(range(9))
    captured = Captured(lambda: next(counts), stream=None)
    assert [captured(), captured(), captured.outputs] == [0, 1, 1]


def test_stages_after_one_that_cannot_be_captured_are_not_captured_either(monkeypatch, caplog):
    """A graph would read the place where the outputs of the stage before it were when it was captured."""
    tried = []

    class Graph:
        def replay(self):
            tried.append("replayed")

    @contextlib.contextmanager
    def graph(_, stream, capture_error_mode):
        tried.append("captured")
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    calls = iter(range(10))

    def forbidden():
        number = next(calls)
        if number == 1:  # that of the capture
            raise RuntimeError("operation not permitted when stream is capturing")
        return number

    first = Captured(forbidden, stream="stream")
    second = Captured(lambda: first.outputs + 100, stream="stream", after=first)
    assert [(first(), second()) for _ in range(3)] == [(0, 100), (2, 102), (3, 103)]
    assert tried == ["captured"] and caplog.text.count("no CUDA graph") == 1
    alone = Captured(lambda: 1, stream="stream")
    follower = Captured(lambda: alone.outputs, stream="stream", after=alone)
    for _ in range(3):
        alone(), follower()
    assert tried[1:] == ["captured", "replayed"] * 2 + ["replayed"] * 2
