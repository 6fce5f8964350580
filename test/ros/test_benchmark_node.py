# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the node: its search and its sums with known answers, and one short run over DDS."""

import json
import mmap
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from patience import PATIENCE_S

from yoso_ros.benchmark.constant_segmenter import ConstantSegmenter
from yoso_ros.benchmark.node_latency import STAGES, cpu_seconds, highest_rate, memory_mb, split_latency


def a_run(rate, loss, reached=None):
    return SimpleNamespace(rate_hz=rate, loss=loss, reached_hz=reached or rate)


@pytest.mark.parametrize("capacity", [10, 12, 37, 95, 199, 1000])
def test_the_highest_rate_is_found_in_few_runs(capacity):
    """A node that answers at most `capacity` frames a second loses the rest."""
    rates = []

    def measure(rate):
        rates.append(rate)
        return a_run(rate, max(0.0, 1 - capacity / rate))

    rate, loss = highest_rate(measure, 10.0, 200.0, 5.0, 3)
    allowed = [r for r in np.arange(10, 201, 5) if 1 - capacity / r <= 0.05]
    assert rate == allowed[-1] and loss <= 0.05
    assert len(rates) <= 6 + 3


def test_a_rate_that_held_once_by_luck_is_not_confirmed():
    seen = {}

    def measure(rate):
        seen[rate] = seen.get(rate, 0) + 1
        return a_run(rate, 0.0 if rate <= 50 or seen[rate] == 1 else 0.2)

    rate, loss = highest_rate(measure, 10.0, 70.0, 10.0, 5)
    assert (rate, loss) == (50.0, 0.0)


def test_the_best_and_the_worst_iteration_do_not_count():
    losses = iter([0.0, 0.0, 0.9, 0.04, 0.05, 0.0, 0.03])  # two of the bisection, then the five that confirm
    rate, loss = highest_rate(lambda rate: a_run(rate, next(losses)), 10.0, 30.0, 10.0, 5)
    assert rate == 30.0 and loss == pytest.approx((0.04 + 0.05 + 0.03) / 3)


def test_a_camera_that_is_too_slow_is_the_limit():
    rate, _ = highest_rate(lambda rate: a_run(rate, 0.0, min(rate, 60)), 10.0, 200.0, 10.0, 3)
    assert rate == 60.0


def test_no_rate_at_all():
    assert highest_rate(lambda rate: a_run(rate, 0.5), 10.0, 100.0, 10.0, 3) == (0.0, 0.5)


def test_stages_add_up_to_the_outside_and_what_does_not_is_counted():
    def stats(**changes):
        values = dict(zip(STAGES, (1.0, 2.0, 3.0, 4.0, 5.0), strict=True)) | {"latency_ms": 15.0, "age_ms": 17.0}
        return values | changes

    rows = [(20.0, stats()), (30.0, stats(publish_ms=7.0, latency_ms=17.0, age_ms=21.0))]
    means, unsound = split_latency(rows)
    assert unsound == 0
    assert means == {
        **{"in": 3.0, "queue": 1.0, "preprocess": 2.0, "inference": 3.0, "postprocess": 4.0, "publish": 6.0},
        **{"out": 6.0, "outside": 25.0},
    }
    assert sum(ms for name, ms in means.items() if name != "outside") == pytest.approx(means["outside"])
    bad = [stats(latency_ms=17.5), stats(age_ms=13.0), stats(age_ms=22.0)]
    assert split_latency([(20.0, entry) for entry in bad])[1] == 3
    assert split_latency([]) == ({}, 0)


def test_cpu_time_and_memory_of_a_process():
    started, cpu = time.process_time(), cpu_seconds(os.getpid())
    while time.process_time() - started < 0.3:
        sum(range(10000))
    assert cpu_seconds(os.getpid()) - cpu == pytest.approx(0.3, abs=0.1)
    # A mapping of its own: an array may come from memory that an earlier test has left with the process.
    before, block = memory_mb(os.getpid())[0], mmap.mmap(-1, 50_000_000)
    np.frombuffer(block, np.uint8)[:] = 1
    now, peak = memory_mb(os.getpid())
    assert now - before == pytest.approx(len(block) / 1e6, abs=10) and peak >= now


def test_the_constant_result_is_a_proper_one():
    segmenter = ConstantSegmenter("any")
    (first, second) = segmenter.batch([np.zeros((48, 64, 3), np.uint8)] * 2)
    assert first is second and first.panoptic.shape == (48, 64)
    np.testing.assert_array_equal(first.panoptic >> 8, first.semantic)
    assert {s.id: s.area for s in first.segments} == dict(
        zip(*(part.tolist() for part in np.unique(first.panoptic, return_counts=True)), strict=True)
    )


@pytest.mark.ros
def test_a_short_run_over_dds(tmp_path):
    pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
    pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "yoso_ros", "benchmark", "node", "--segmenters", "constant", "--size", "48x64"]
    command += ["--rates", "20", "--seconds", "1.5", "--output", report]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(report.read_text())["constant"]["runs"]
    assert run["sent"] == 30 and 0 < run["reached_hz"] < 25
    assert run["received"] == run["processed"] + run["dropped"] and run["failed"] == 0
    assert 0 < run["answered"] <= run["processed"]
    assert 0 < run["latency_p50_ms"] <= run["latency_p99_ms"] <= run["latency_p100_ms"]
    assert run["memory_mb"] > 30 and run["cpu_ms"] > 0
    parts = sum(ms for name, ms in run["stages"].items() if name != "outside")
    assert parts == pytest.approx(run["stages"]["outside"], abs=0.5)
    assert f"{run['reached_hz']:10.1f}" in done.stdout and "p99" in done.stdout
