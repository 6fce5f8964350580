# SPDX-License-Identifier: Apache-2.0
"""On a CUDA device: no wait for the host on the way of a frame, graphs repeat what eager runs compute, half precision.

Skips itself without a device. Random weights compare two ways to compute the same, nothing else.
"""

import contextlib
import dataclasses

import numpy as np
import pytest
import torch
from test_cuda import exact_float32, small_model  # noqa: F401 - a fixture that acts by itself

from yoso_ros.inference import Segmenter
from yoso_ros.inference.engines import create_engine
from yoso_ros.inference.preprocess import batch_frames

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


@contextlib.contextmanager
def no_synchronisation():
    """Every operation of torch that makes the host wait for the device raises."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def random_frames(count, size=(360, 480)):
    return list(np.random.default_rng(0).integers(0, 256, (count, *size, 3), np.uint8))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_nothing_waits_for_the_host(precision):
    config, model = small_model()
    path = Segmenter(config, create_engine("torch", model, "cuda", precision))._path
    frames = random_frames(2)
    with torch.inference_mode(), torch.cuda.stream(path.stream):
        path.enqueue(path.prepare(frames, config))  # libraries load with the first call, which may wait
        path.stream.synchronize()
        work = path._work[tuple(frame.shape for frame in frames)]
        for stage in (work.preprocess, work.network, work.merge):
            stage._stream = None  # not captured, so that every operation runs and is watched
        prepared = path.prepare(frames, config)
        with no_synchronisation():
            path.enqueue(prepared)
        path.stream.synchronize()


def test_every_stage_is_captured_and_waits_for_what_the_caller_has_begun(caplog):
    config, model = small_model()
    segmenter = Segmenter(config, create_engine("torch", model, "cuda", "fp32"))
    (frame,) = random_frames(1)
    for _ in range(2):
        segmenter(frame)
    work = segmenter._path._work[(frame.shape,)]
    assert all(stage._graph is not None for stage in (work.preprocess, work.network, work.merge)), caplog.text
    torch.cuda._sleep(200_000_000)  # cycles: a tenth of a second
    begun = torch.cuda.Event()
    begun.record()
    segmenter(frame)
    assert begun.query()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_replays_equal_the_eager_run_and_follow_frames_and_thresholds(precision):
    config, model = small_model()
    segmenter = Segmenter(config, create_engine("torch", model, "cuda", precision))
    first, second = random_frames(2)
    eager = segmenter(first)
    assert len(eager.segments) > 1
    for _ in range(3):  # captured, then replayed
        replayed = segmenter(first)
        assert (replayed.panoptic != eager.panoptic).mean() < 1e-3
    other = segmenter(second)
    fresh = Segmenter(config, create_engine("torch", model, "cuda", precision))(second)
    assert (other.panoptic != fresh.panoptic).mean() < 1e-3
    assert (other.panoptic != eager.panoptic).any()
    segmenter.score_threshold = 1.0
    assert not segmenter(first).segments


def test_graph_of_the_network_is_captured_again_for_another_shape():
    config, model = small_model()
    engine = create_engine("torch", model, "cuda", "fp32")
    for size in ((64, 96), (96, 64), (64, 96), (64, 96), (96, 64)):
        images = batch_frames(random_frames(1, size), config.pixel_mean, 32)
        with torch.inference_mode():
            expected = engine.forward(images.cuda())
        for a, e in zip(engine(images), expected, strict=True):
            assert torch.allclose(a, e, rtol=1e-3, atol=1e-3 * e.abs().max())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near_float32(precision):
    config, model = small_model()
    images = batch_frames(random_frames(1), config.pixel_mean, 32)
    exact = create_engine("torch", model, "cuda", "fp32")(images)
    half = create_engine("torch", model, "cuda", precision)(images)
    for a, e in zip(half, exact, strict=True):
        assert a.isfinite().all() and (a - e).abs().mean() < 0.1 * e.abs().mean()


def test_large_batches_and_sizes_equal_the_cpu():
    config, model = small_model()
    config = dataclasses.replace(config, shortest_edge=512, longest_edge=800)
    frames = [*random_frames(1, (720, 1280)), *random_frames(1, (480, 640))]
    on_cpu = Segmenter(config, create_engine("torch", model, "cpu", "fp32")).batch(frames)
    on_gpu = Segmenter(config, create_engine("torch", model, "cuda", "fp32")).batch(frames)
    for a, e in zip(on_gpu, on_cpu, strict=True):
        assert (a.panoptic != e.panoptic).mean() < 0.01
        assert all(milliseconds >= 0 for milliseconds in a.timings_ms.values())
