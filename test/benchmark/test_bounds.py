# SPDX-License-Identifier: Apache-2.0
"""Bounds of the benchmarks: FLOPs of the network as it is run, peaks of this machine, and the time that follows."""

import pytest
import torch

from yoso_ros.benchmark import bounds
from yoso_ros.benchmark.flops import count_parts
from yoso_ros.cli import main
from yoso_ros.models import load_config

SIZE = (512, 800)


def test_flops_are_those_of_the_network_less_what_the_folded_decoder_saves():
    config = load_config("yoso_r50_coco")
    found = bounds.network_flops(config, SIZE)
    parts = {name: flops for name, (flops, _) in count_parts(config, SIZE).items()}
    # Products of 3x3 windows, by hand: 1024 -> 512 at stride 32, 512 -> 256 at stride 16, 256 -> 128 at stride 8.
    places = [SIZE[0] * SIZE[1] // stride**2 for stride in (32, 16, 8)]
    sampling = sum(9 * c * (c // 2) * n for c, n in zip((1024, 512, 256), places, strict=True))
    assert found["sampling"] == sampling
    cells, width = SIZE[0] * SIZE[1] // 16, config.aggregator_channels + 2
    location = width * config.hidden_dim * cells
    assert found["convolutions"] + sampling == pytest.approx(parts["backbone"] + parts["neck"] - location, rel=0.02)
    saved = 5 * config.num_proposals * (config.hidden_dim - width) * cells
    assert found["head"] == pytest.approx(parts["decoder"] - saved, rel=0.02)


def test_bound_adds_what_each_precision_computes():
    flops = {"convolutions": 40e9, "sampling": 5e9, "head": 2e9}
    peaks = {"fp32": 50e9, "bf16": 100e9, "int8": 200e9}
    assert bounds.arithmetic_bound_ms(flops, "fp32", peaks) == pytest.approx(940)
    assert bounds.arithmetic_bound_ms(flops, "bf16", peaks) == pytest.approx(400 + 100 + 20)
    assert bounds.arithmetic_bound_ms(flops, "int8", peaks) == pytest.approx(200 + 100 + 20)


def test_peaks_are_above_what_eager_torch_does(monkeypatch):
    pytest.importorskip("openvino", reason="needs openvino")
    monkeypatch.setattr(bounds, "TRIES", 8)
    monkeypatch.setattr(bounds, "COPIED_BYTES", 1 << 22)
    left = torch.rand(400, 400)
    seconds = bounds._least_seconds(lambda: left @ left)
    assert bounds.measured_peak("fp32", torch.get_num_threads()) > 0.2 * 400**3 / seconds
    assert bounds.measured_peak("int8", torch.get_num_threads()) > 0
    assert 1e8 < bounds.measured_bandwidth() < 1e12


def test_command_prints_the_bound_beside_the_time(capsys, monkeypatch):
    pytest.importorskip("openvino", reason="needs openvino")
    monkeypatch.setattr(bounds, "TRIES", 2)
    arguments = ["--engines", "openvino", "--sizes", "96x128", "--weights", "random", "--kept", "5", "--rounds", "1"]
    assert main(["benchmark", "throughput", *arguments, "--bounds"]) == 0
    out = capsys.readouterr().out
    assert "measured peak: fp32 " in out and "openvino-cpu-fp32: at least " in out
