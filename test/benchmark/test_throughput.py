# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros benchmark throughput`: the baseline is the same computation, proposals are given, times are those spent."""

import os
import re
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from patience import PATIENCE_S

from yoso_ros.benchmark.literal_segmenter import LiteralSegmenter
from yoso_ros.benchmark.processes import busy_core, peak_memory_mb
from yoso_ros.benchmark.throughput import (
    RANDOM,
    STAGES,
    GivenOutputs,
    StageTimes,
    create_ways,
    load_benchmark_network,
    measure_growth,
    measure_ways,
    resized_config,
)
from yoso_ros.cli import main
from yoso_ros.errors import InputError
from yoso_ros.inference.segmenter import Segmenter
from yoso_ros.models import deformable_conv, load_config
from yoso_ros.models.yoso.network import YosoOutputs

SMALL = "yoso_mobilenetv2_camvid"
SIZE = (96, 128)


@pytest.fixture(scope="module")
def small():
    """The shipped network and one frame of the rendered scene."""
    from yoso_ros.bags import open_source
    from yoso_ros.images.decoding import decode_image

    return load_benchmark_network(SMALL, None), decode_image(next(iter(open_source("synthetic"))).image)


@pytest.mark.parametrize("form", ["grid_sample", "embedding_bag"])
def test_the_baseline_finds_the_same_segments_as_the_segmenter(small, form):
    network, frame = small
    ways, reasons = create_ways(network, network.config, [f"baseline:{form}", "torch"], "cpu", [frame])
    assert not reasons and list(ways) == [f"authors' form, {form}", "torch-cpu-fp32"]
    literal, ours = (way(frame) for way in ways.values())
    assert len(ours.segments) > 2 and [s.id for s in literal.segments] == [s.id for s in ours.segments]
    assert (literal.panoptic != ours.panoptic).mean() < 1e-3


def test_the_baseline_of_realtimepan_finds_the_same_segments_as_the_segmenter():
    network = load_benchmark_network("realtimepan_mobilenetv2_synthetic", RANDOM)
    config = resized_config(network.config, SIZE)
    frame = np.random.default_rng(0).integers(0, 256, (90, 150, 3), dtype=np.uint8)  # not the size of the input
    ways, reasons = create_ways(network, config, ["baseline", "torch"], "cpu", [frame], kept=9)
    assert not reasons and list(ways) == ["authors' form", "torch-cpu-fp32"]
    literal, ours = (way(frame) for way in ways.values())
    assert sum(s.is_thing for s in ours.segments) > 2
    assert [(s.id, s.class_id) for s in literal.segments] == [(s.id, s.class_id) for s in ours.segments]
    assert (literal.panoptic != ours.panoptic).mean() < 1e-3


def test_networks_without_a_literal_form_have_no_baseline():
    network = load_benchmark_network("dr1mask_mobilenetv2_synthetic", RANDOM)
    ways, reasons = create_ways(network, network.config, ["baseline"], "cpu", [np.zeros((*SIZE, 3), np.uint8)])
    assert not ways and reasons == ["baseline: the baseline is for yoso, realtimepan, found dr1mask"]


def test_the_baseline_runs_its_own_form_of_the_deformable_convolution_and_leaves_the_usual_one(small, monkeypatch):
    network, frame = small
    called = []
    for name, form in list(deformable_conv.FORMS.items()):
        monkeypatch.setitem(
            deformable_conv.FORMS, name, lambda *a, name=name, form=form: called.append(name) or form(*a)
        )
    LiteralSegmenter(network, network.config)(frame)
    assert set(called) == {"grid_sample"}
    called.clear()
    with torch.no_grad():
        network(torch.zeros(1, 3, 64, 64))
    assert set(called) == {"embedding_bag"}


def test_given_proposals_have_the_asked_number_of_kept_ones_in_every_image_of_a_batch():
    config = load_config("yoso_r50_coco")
    classes = len(config.label_set)
    class_logits, mask_logits = GivenOutputs(7, config)(
        YosoOutputs(torch.zeros(2, 100, classes + 1), torch.zeros(2, 100, 24, 32))
    )
    assert class_logits.shape == (2, 100, classes + 1) and mask_logits.shape == (2, 100, 24, 32)
    scores, labels = class_logits.softmax(-1).max(-1)
    assert ((labels < classes) & (scores > config.score_threshold)).sum(1).tolist() == [7, 7]


def test_random_weights_are_the_same_every_time():
    first, second = (load_benchmark_network(SMALL, RANDOM).state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_times_are_those_of_the_stages_and_of_the_whole_call(monkeypatch):
    calls, now = [], [0.0]
    monkeypatch.setattr("yoso_ros.benchmark.throughput.time.perf_counter", lambda: now[0])

    def way(name, seconds):
        def call(frame):
            calls.append((name, frame))
            now[0] += seconds
            return SimpleNamespace(timings_ms={"preprocess": 1.0, "inference": 2.0, "postprocess": 3.0})

        return call

    slow, fast = measure_ways({"slow": way("slow", 0.03), "fast": way("fast", 0.01)}, ["a", "b"], 4)
    assert calls[:4] == [("slow", "a"), ("fast", "a"), ("slow", "b"), ("fast", "b")] and len(calls) == 2 * (2 + 4)
    assert slow.name == "slow" and set(slow.stages) == set(STAGES) and len(slow.stages["total"]) == 4
    assert slow.percentile("inference", 99) == 2.0
    assert slow.percentile("total", 50) == pytest.approx(30) and fast.percentile("total", 50) == pytest.approx(10)


def test_percentiles_and_rate_by_hand():
    times = StageTimes("x", {"total": np.array([10.0, 20.0, 30.0, 40.0])})
    assert times.percentile("total", 50) == 25.0 and times.percentile("total", 99) == pytest.approx(39.7)
    assert times.fps == 40.0  # four frames in 100 ms


def test_resized_config_makes_frames_of_that_size_the_network_input():
    config = resized_config(load_config("yoso_r50_coco"), (800, 1333))
    assert config.network_size(800, 1333) == (800, 1333)
    assert resized_config(config, None) is config


def test_given_proposals_go_the_way_of_a_device():
    from yoso_ros.benchmark.throughput import _ReplacedOutputs
    from yoso_ros.inference.device_path import DevicePath
    from yoso_ros.inference.engines.torch_cuda import TorchCudaEngine

    network = load_benchmark_network(SMALL, RANDOM)
    engine = TorchCudaEngine(network, torch.device("cpu"), "fp32")
    config = resized_config(network.config, SIZE)
    path = DevicePath(config, _ReplacedOutputs(engine, GivenOutputs(5, config)))
    frame = np.zeros((*SIZE, 3), np.uint8)
    (inferred,) = path.infer(path.prepare([frame], config))
    assert len(path.merge(inferred).segments) > 1


def test_growth_runs_each_size_and_batch_and_leaves_the_configuration():
    seen = []

    class Engine:
        device, backend, size_divisor = torch.device("cpu"), "fake", 32

        def __call__(self, images):
            seen.append(tuple(images.shape))
            batch, _, height, width = images.shape
            return YosoOutputs(torch.zeros(batch, 5, 12), torch.zeros(batch, 5, height // 4, width // 4))

        def synchronize(self):
            pass

    config = load_config(SMALL)
    segmenter = Segmenter(config, Engine())
    by_size, by_cameras = measure_growth(segmenter, (128, 256), (0.5, 1.0), (1, 3), 1)
    assert set(seen) == {(1, 3, 64, 128), (1, 3, 128, 256), (3, 3, 64, 128)} and segmenter.config is config
    assert [x for x, _ in by_size] == [64 * 128 / 1e6, 128 * 256 / 1e6] and [x for x, _ in by_cameras] == [1, 3]


def test_busy_core_uses_a_core_and_ends():
    psutil = pytest.importorskip("psutil", reason="needs psutil")
    with busy_core() as process:
        spinning = psutil.Process(process.pid)
        deadline = time.monotonic() + PATIENCE_S
        while sum(spinning.cpu_times()[:2]) < 1.0:  # more than it takes to start
            assert time.monotonic() < deadline, "it does nothing"
            time.sleep(0.05)
    assert process.poll() is not None


def test_busy_process_ends_with_its_parent():
    psutil = pytest.importorskip("psutil", reason="needs psutil")
    code = "from yoso_ros.benchmark.processes import busy_core\nimport os\n"
    code += "with busy_core() as p:\n print(p.pid, flush=True)\n os._exit(0)"
    pid = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S).stdout)
    deadline = time.monotonic() + PATIENCE_S
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "still running"
        time.sleep(0.05)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_peak_memory_is_that_of_a_process_with_the_network():
    peak = peak_memory_mb(SMALL, RANDOM, "torch", SIZE, 5)
    assert 150 < peak < 1000  # torch alone takes more than the lower bound
    with pytest.raises(InputError, match="memory of magic: the process failed: .*engine: expected one of"):
        peak_memory_mb(SMALL, RANDOM, "magic", SIZE, 5)


def test_command_prints_every_way_its_ratio_and_what_is_left_out(capsys):
    arguments = ["--engines", "baseline", "torch", "magic", "--sizes", "96x128", "--weights", "random", "--kept", "5"]
    assert main(["benchmark", "throughput", *arguments, "--rounds", "2", "--busy-core"]) == 0
    out = capsys.readouterr().out
    assert "left out magic: engine: expected one of" in out
    rows = re.findall(r"^(authors' form, grid_sample|torch-cpu-fp32) +([\d.]+) +([\d.]+) (.*)$", out, re.M)
    assert [row[0] for row in rows] == 2 * ["authors' form, grid_sample", "torch-cpu-fp32"]
    medians = [float(re.findall(r"[\d.]+ / ([\d.]+) / [\d.]+ / [\d.]+", row[3])[-1]) for row in rows]
    assert float(rows[0][2]) == 1.0 and float(rows[1][2]) == pytest.approx(medians[0] / medians[1], rel=0.05)
    slowdowns = [float(x) for x in re.findall(r" ([\d.]+)x$", out, re.M)]
    assert slowdowns[1] == pytest.approx(medians[3] / medians[1], rel=0.05)


@pytest.mark.parametrize(
    "arguments", [["--rounds", "0"], ["--sizes", "12"], ["--kept", "0"], ["--source", "/no/such/place"]]
)
def test_bad_arguments_exit_with_2(arguments, capsys):
    assert main(["benchmark", "throughput", *arguments]) == 2
    assert capsys.readouterr().err.startswith("yoso-ros benchmark: ")
