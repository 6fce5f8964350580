# SPDX-License-Identifier: Apache-2.0
"""A soak test of the node: hours of frames and changes, with every frame accounted for and the process monitored."""

import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from yoso_ros.benchmark.node_bench import Role
from yoso_ros.benchmark.node_latency import memory_mb
from yoso_ros.errors import InputError
from yoso_ros.node_process import NodeProcess, dds_environment, reserved_domain
from yoso_ros.stop_signals import held_back

START_S = 600.0  # for the node and the other side to load a network each on a busy machine
WARM_UP = 0.2  # share of the samples after which the node's memory is allocated and its slope is measured


def process_sample(pid):
    """The resources of a process: dict of memory_mb, descriptors and threads."""
    return {
        "memory_mb": memory_mb(pid)[0],
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": len(os.listdir(f"/proc/{pid}/task")),
    }


def slope_per_minute(minutes, values):
    """Slope of a line through the samples after the warm-up, per minute; NaN for fewer than three."""
    first = int(WARM_UP * len(minutes))
    if len(minutes) - first < 3:
        return float("nan")
    return float(np.polyfit(minutes[first:], values[first:], 1)[0])


def soak(
    model,
    minutes,
    stretch_s,
    rate_hz,
    sizes,
    bad_every,
    log_path=None,
    on_sample=lambda sample: None,
    frames=float("inf"),
):
    """Soak a node in a separate ROS domain.

    Args:
        model: name, or "constant" for a node without a network.
        minutes: maximum duration. stretch_s: seconds between two changes. rate_hz: of the camera.
        sizes: list of "HxW". bad_every: one frame in this many is bad.
        log_path: file for the node's output, None for a temporary one.
        on_sample: called with each sample.
        frames: the soak ends after the stretch in which this number is reached.

    Returns:
        dict: `samples`, resources of the node and counts of the frames after each stretch; `totals`; the slope of
        memory; `held`, true if no frame was unaccounted for, no answer wrong and no error caught.

    Raises:
        InputError: the node ended, or a process does not answer.
    """
    roles = [sys.executable, "-m", "yoso_ros.ros.runs.latency_roles"]
    samples = []
    with contextlib.ExitStack() as started:
        domain = started.enter_context(reserved_domain())
        folder = started.enter_context(tempfile.TemporaryDirectory())
        command = [*roles, "node"] if model == "constant" else None
        parameters = {} if model == "constant" else {"model": model}
        log_path = Path(log_path or Path(folder) / "node.log")
        with held_back():
            node = NodeProcess(parameters, {"image_raw": "/benchmark/image_raw"}, domain, log_path, command)
            started.callback(node.stop)
        side = Role([*roles, "soak", model, str(bad_every), *sizes], dds_environment(domain), START_S)
        started.callback(side.stop)
        start = time.monotonic()
        while not samples or (time.monotonic() < start + 60 * minutes and samples[-1]["sent"] < frames):
            totals = side.ask(f"{stretch_s} {rate_hz}", seconds=stretch_s + 600, waiting=node.check)
            node.check()
            passed = (time.monotonic() - start) / 60
            samples.append({"minutes": passed, **process_sample(node.pid), **totals})
            on_sample(samples[-1])
        log_lines = len(log_path.read_text(errors="replace").splitlines())
    return report(samples, log_lines) | {"model": model, "rate_hz": rate_hz, "sizes": list(sizes)}


def report(samples, log_lines):
    """The figures of a soak, from its samples."""
    first, last = samples[int(WARM_UP * len(samples))], samples[-1]
    faults = {name: last[name] for name in ("unaccounted", "wrong", "caught")}
    slope = slope_per_minute([s["minutes"] for s in samples], [s["memory_mb"] for s in samples])
    return {
        "minutes": last["minutes"],
        "held": not any(faults.values()),
        "memory_slope_mb_per_minute": None if np.isnan(slope) else slope,
        "changes": {
            name: {"warm": first[name], "last": last[name], "most": max(s[name] for s in samples)}
            for name in ("memory_mb", "descriptors", "threads")
        },
        "totals": {k: v for k, v in last.items() if k not in ("minutes", "memory_mb", "descriptors", "threads")},
        "log_lines": log_lines,
        "samples": samples,
    }


def check_options(minutes, stretch_s, rate_hz, bad_every, frames=float("inf")):
    """Raise InputError for options out of range."""
    if not all(number > 0 for number in (minutes, stretch_s, rate_hz, frames)) or bad_every < 2:
        raise InputError("--minutes, --frames, --stretch and --rate: expected numbers above 0, --bad-every: 2 or more")
