# SPDX-License-Identifier: Apache-2.0
"""Bounds of the benchmarks: FLOPs of the network as it is run, peaks of this machine, and the time that follows."""

import pytest
from hub_checkpoints import write_checkpoint

from yoso_ros.benchmark import bounds, flops
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


@pytest.mark.parametrize("family", ["eomt", "mask2former"])
def test_flops_of_a_hub_model(family, tmp_path, monkeypatch):
    """Counted without computing where that is possible; with real tensors the numbers are the same."""
    pytest.importorskip("transformers", reason="needs transformers (yoso-ros[hub])")
    write_checkpoint(family, tmp_path)
    config = load_config(str(tmp_path))
    found, count = count_parts(config, (64, 64)), flops._count_parts

    def on_the_cpu_only(config, size, device):
        if device == "meta":
            raise RuntimeError("Tensor.item() cannot be called on meta tensors")
        return count(config, size, device)

    monkeypatch.setattr(flops, "_count_parts", on_the_cpu_only)
    assert found == count_parts(config, (64, 64)) and min(min(part) for part in found.values()) > 0


def test_bound_adds_what_each_precision_computes():
    flops = {"convolutions": 40e9, "sampling": 5e9, "head": 2e9}
    peaks = {"fp32": 50e9, "bf16": 100e9, "int8": 200e9}
    assert bounds.arithmetic_bound_ms(flops, "fp32", peaks) == pytest.approx(940)
    assert bounds.arithmetic_bound_ms(flops, "bf16", peaks) == pytest.approx(400 + 100 + 20)
    assert bounds.arithmetic_bound_ms(flops, "int8", peaks) == pytest.approx(200 + 100 + 20)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_peaks_are_the_work_done_by_the_least_time(monkeypatch, precision):
    pytest.importorskip("openvino", reason="needs openvino")
    done = []

    def half_a_second(call):
        done.append(call())
        return 0.5

    monkeypatch.setattr(bounds, "_least_seconds", half_a_second)
    monkeypatch.setattr(bounds, "COPIED_BYTES", 1 << 10)
    assert bounds.measured_peak(precision, 1) == 2 * 256 * 256 * 9 * 32 * 48
    assert bounds.measured_bandwidth() == 2 * 2 * 1024
    (greatest,) = done[0].values()
    assert greatest.size == 1 and greatest.item() > 0 and len(done[1]) == 1024


def test_least_of_the_times(monkeypatch):
    moments = iter([0.0, 3.0, 4.0, 6.0, 7.0, 12.0])
    monkeypatch.setattr(bounds.time, "perf_counter", lambda: next(moments))
    monkeypatch.setattr(bounds, "TRIES", 3)
    assert bounds._least_seconds(lambda: None) == 2.0


def test_command_prints_the_bound_beside_the_time(capsys, monkeypatch):
    pytest.importorskip("openvino", reason="needs openvino")
    monkeypatch.setattr(bounds, "TRIES", 2)
    arguments = ["--engines", "openvino", "--sizes", "96x128", "--weights", "random", "--kept", "5", "--rounds", "1"]
    assert main(["benchmark", "throughput", *arguments, "--bounds"]) == 0
    out = capsys.readouterr().out
    assert "measured peak: fp32 " in out and "openvino-cpu-fp32: at least " in out
