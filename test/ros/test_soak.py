# SPDX-License-Identifier: Apache-2.0
"""A soak of seconds: every kind of change once, every frame accounted for; and the figures of a report."""

import json
import os
from types import SimpleNamespace

import pytest

from yoso_ros.benchmark import soak
from yoso_ros.benchmark.soak import report, slope_per_minute
from yoso_ros.cli import main

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")

pytestmark = pytest.mark.ros


def test_a_short_soak_accounts_for_every_frame(tmp_path, monkeypatch):
    monkeypatch.setattr("yoso_ros.benchmark.soak.time", FourStretches())
    output = tmp_path / "soak.json"
    options = ["--minutes", "1", "--stretch", "1", "--rate", "20", "--bad-every", "7", "--output", str(output)]
    assert main(["benchmark", "soak", *options]) == 0
    found = json.loads(output.read_text())
    totals = found["totals"]
    assert len(found["samples"]) == 4 and found["held"]
    assert totals["sent"] >= 4 * 15 and totals["failed"] > 0 and totals["compared"] > 0
    assert (totals["wrong"], totals["unaccounted"], totals["caught"]) == (0, 0, 0)
    changes = ("parameter_changes", "returns", "size_changes", "lifecycle_rounds")
    assert [totals[name] for name in changes] == [2, 1, 1, 1]


def test_a_soak_ends_after_the_stretch_in_which_its_frames_were_sent(monkeypatch):
    class Side:
        sent = 0

        def __init__(self, *arguments):
            pass

        def ask(self, request, seconds, waiting):
            self.sent += 40
            return {"sent": self.sent, "unaccounted": 0, "wrong": 0, "caught": 0}

        def stop(self):
            pass

    node = SimpleNamespace(check=lambda: None, stop=lambda: None, pid=os.getpid())
    monkeypatch.setattr(soak, "NodeProcess", lambda parameters, remaps, domain, log, command: log.touch() or node)
    monkeypatch.setattr(soak, "Role", Side)
    found = soak.soak("constant", 60.0, 1.0, 20.0, ["8x8"], 7, frames=100.0)
    assert [sample["sent"] for sample in found["samples"]] == [40, 80, 120]
    assert main(["benchmark", "soak", "--frames", "nan"]) == 2


class FourStretches:
    """A stand-in for the module `time`: the soak's minute is over after four looks at the clock within it."""

    def __init__(self):
        self.looks = 0

    def monotonic(self):
        self.looks += 1
        return 8.0 * self.looks  # two looks for each stretch


def a_sample(minute, **changes):
    names = ("sent", "unaccounted", "wrong", "caught")
    held = {"memory_mb": 100 + 0.5 * minute, "descriptors": 20, "threads": 9}
    return {"minutes": minute, **held, **dict.fromkeys(names, 0), **changes}


def test_the_figures_of_a_soak():
    samples = [a_sample(minute) for minute in range(10)]
    samples[0]["memory_mb"] = 0.0  # before the warm-up
    found = report(samples, 3)
    assert found["held"] and found["memory_slope_mb_per_minute"] == pytest.approx(0.5)
    assert found["changes"]["memory_mb"] == {"warm": 101.0, "last": 104.5, "most": 104.5}
    for fault in ("unaccounted", "wrong", "caught"):
        assert not report([*samples[:-1], a_sample(9, **{fault: 1})], 0)["held"]
    assert report(samples[:2], 0)["memory_slope_mb_per_minute"] is None
    assert slope_per_minute([0, 1, 2, 3], [5, 4, 3, 2]) == pytest.approx(-1.0)
