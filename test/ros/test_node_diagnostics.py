# SPDX-License-Identifier: Apache-2.0
"""The health report without DDS: levels, rates and warnings since the last report, and each cause as new only once."""

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from diagnostic_msgs.msg import DiagnosticStatus

from yoso_ros.ros import diagnostics
from yoso_ros.ros.memory import memory_values
from yoso_ros.ros.worker import Counts


class Clock:
    """A stand-in for the module `time` that the test moves."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(diagnostics, "time", clock)
    return clock


def report(health, counts, phase="active", enabled=True):
    status = health.status(phase, enabled, counts, "torch-cpu-fp32", "a_model")
    return status, {item.key: item.value for item in status.values}


def test_rates_are_those_since_the_last_report(clock):
    health = diagnostics.HealthReport("yoso")
    health.frame_arrived()
    clock.now += 2.0
    status, values = report(health, Counts(30, 20, 10, 0))
    assert status.level == DiagnosticStatus.OK and status.hardware_id == "torch-cpu-fp32"
    assert (values["frames per second"], values["dropped per second"]) == ("10.0", "5.0")
    clock.now += 1.0
    health.frame_arrived()
    _, values = report(health, Counts(34, 24, 10, 0))
    assert (values["frames per second"], values["dropped per second"]) == ("4.0", "0.0")
    assert (values["received"], values["processed"], values["dropped"], values["failed"]) == ("34", "24", "10", "0")


def test_levels(clock):
    health = diagnostics.HealthReport("yoso")
    status, values = report(health, Counts(), phase="unconfigured")
    assert status.level == DiagnosticStatus.WARN and "unconfigured" in status.message
    assert values["seconds since last frame"] == "no frame yet"
    assert report(health, Counts())[0].level == DiagnosticStatus.OK, "no image yet, but it has just begun to listen"
    clock.now += diagnostics.SILENCE_S + 0.5
    assert report(health, Counts(), enabled=False)[0].level == DiagnosticStatus.OK
    assert report(health, Counts())[0].level == DiagnosticStatus.WARN, "no image ever came"
    health.images_expected()
    assert report(health, Counts())[0].level == DiagnosticStatus.OK, "it has begun anew"
    health.frame_arrived()
    assert report(health, Counts(1, 1))[0].level == DiagnosticStatus.OK
    clock.now += diagnostics.SILENCE_S + 0.5
    status, values = report(health, Counts(1, 1))
    assert status.level == DiagnosticStatus.WARN and values["seconds since last frame"] == "2.5"
    health.frame_arrived()
    health.failure("found 5 bytes")
    status, values = report(health, Counts(2, 1, 0, 1))
    assert status.level == DiagnosticStatus.ERROR, "every frame since the last report failed"
    assert "found 5 bytes" in status.message and values["last failure"] == "found 5 bytes"
    assert report(health, Counts(4, 2, 0, 2))[0].level == DiagnosticStatus.WARN, "some frames failed"
    status, values = report(health, Counts(5, 3, 0, 2))
    assert status.level == DiagnosticStatus.OK and values["last failure"] == "found 5 bytes"


def test_a_warning_lasts_for_one_report_and_is_new_once(clock):
    health = diagnostics.HealthReport("yoso")
    assert health.warning("went back by 3 s", "stamps go back")
    assert not health.warning("went back by 4 s", "stamps go back")
    assert health.warning("50 s behind", "stamps are far")
    status, _ = report(health, Counts(2, 2))
    assert status.level == DiagnosticStatus.WARN
    assert "back by 4 s" in status.message and "50 s behind" in status.message
    assert report(health, Counts(3, 3))[0].level == DiagnosticStatus.OK


def test_silence_is_new_again_after_steady_images(clock):
    health = diagnostics.HealthReport("yoso")
    assert health.warning("no images", diagnostics.SILENCE)
    for received in (1, 2):  # an image every three seconds
        clock.now += 3.0
        report(health, Counts(received, received))
        assert not health.warning("no images", diagnostics.SILENCE)
    clock.now += 1.0
    report(health, Counts(32, 32))
    assert health.warning("no images", diagnostics.SILENCE)


def test_values_of_engine_memory_and_last_frame(clock):
    health = diagnostics.HealthReport("yoso")
    _, values = report(health, Counts())
    assert (values["engine"], values["device"], values["precision"]) == ("torch", "cpu", "fp32")
    assert values["latency of last frame (ms)"] == values["age of last frame (ms)"] == "unknown"
    health.frame_processed({"latency_ms": 12.34, "age_ms": float("nan")})
    _, values = report(health, Counts(1, 1))
    assert values["latency of last frame (ms)"] == "12.3" and values["age of last frame (ms)"] == "unknown"
    before = float(memory_values("torch-cpu-fp32", "auto")["memory (MB)"])
    ballast = b"x" * 300_000_000
    after = float(memory_values("torch-cpu-fp32", "auto")["memory (MB)"])
    assert len(ballast) * 0.9e-6 < after - before < len(ballast) * 1.1e-6


def test_memory_of_the_accelerator(monkeypatch):
    torch = pytest.importorskip("torch")
    asked = []

    def mem_get_info(device):
        asked.append(device)
        return 60_000_000_000, 80_000_000_000

    monkeypatch.setattr(torch.cuda, "mem_get_info", mem_get_info)
    for device in ("auto", "cuda:1"):
        values = memory_values("torch-cuda-fp16", device)
        assert values["device memory (MB)"] == "20000 of 80000"
    assert asked == ["cuda", "cuda:1"]


def test_a_kind_of_failure_is_new_once():
    health = diagnostics.HealthReport("yoso")
    assert health.failure("found 5 bytes") == "found 5 bytes"
    assert health.failure("found 6 bytes") is None
    assert health.failure("unknown encoding")


def test_a_new_report_counts_from_where_it_begins(clock):
    health = diagnostics.HealthReport("yoso: front", Counts(100, 90, 10, 0))
    clock.now += 1.0
    status, values = report(health, Counts(103, 92, 11, 0))
    assert (values["frames per second"], values["dropped per second"]) == ("2.0", "1.0")
    assert status.name == "yoso: front"


def test_a_node_without_a_model_warns():
    status = diagnostics.idle_status("yoso: segmentation", "unconfigured")
    assert status.level == DiagnosticStatus.WARN and "unconfigured" in status.message
    status = diagnostics.idle_status("yoso: segmentation", "unconfigured", "found no weights")
    assert status.level == DiagnosticStatus.ERROR and "found no weights" in status.message
