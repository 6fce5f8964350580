# SPDX-License-Identifier: Apache-2.0
"""Latency, loss and cost of the node, measured from outside, and the search for the highest rate.

The definitions are those of ros2_benchmark: latency from publishing an image to receiving its answer, matched by stamp;
the highest rate has at most 5 % loss; it is found by bisection and then confirmed downwards, each time in several
iterations of which the best and the worst are discarded.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LOSS_LIMIT = 0.05
STAGES = ("queue_ms", "preprocess_ms", "inference_ms", "postprocess_ms", "publish_ms")
STAGE_TOLERANCE_MS = 1.0
FASTEST_PART = 0.95  # a camera that reaches less of its rate is itself the limit


@dataclass(frozen=True)
class Run:
    """The result of one run. Times in milliseconds; `stages` are means over the answered frames.

    Attributes:
        rate_hz: requested of the camera; reached_hz: its actual rate.
        sent, received, processed, dropped, failed, answered: frames; for answered ones, all label topics were received.
        latency: publish to receipt of the last label topic, one per answered frame, in the order of sending.
        cpu_percent: of one core, of the node while frames were sent; cpu_ms: its CPU time per processed frame.
        memory_mb: resident memory of the node; peak_mb: the highest so far.
        stages: dict of the stages in ~/stats, with "in" (image transport) before and "out" (label transport) after.
        unsound: answered frames whose stages do not add up to the latency, or exceed what was measured outside.
    """

    rate_hz: float
    reached_hz: float
    sent: int
    received: int
    processed: int
    dropped: int
    failed: int
    answered: int
    latency: np.ndarray
    cpu_percent: float
    cpu_ms: float
    memory_mb: float
    peak_mb: float
    stages: dict
    unsound: int

    @property
    def loss(self):
        """Share of the sent frames without a complete answer, 0..1."""
        return 1.0 - self.answered / self.sent

    def percentile(self, percent):
        """Latency in milliseconds; NaN without answers."""
        return float(np.percentile(self.latency, percent)) if self.latency.size else float("nan")


def split_latency(rows):
    """Split the externally measured latency into the node's stages and the transport before and after them.

    Args:
        rows: list of (latency measured outside in milliseconds, dict of the fields of InferenceStats).

    Returns:
        dict of means in milliseconds ("in", the stages, "out", "outside"; empty without rows), and the number of rows
        that are inconsistent: the sum of the stages differs from the latency by over 1 ms, or the latency within the
        node is over 1 ms longer than the age since the stamp or than the external measurement.
    """
    if not rows:
        return {}, 0
    outside = np.array([row[0] for row in rows])
    stage = {name: np.array([stats[name] for _, stats in rows], float) for name in (*STAGES, "age_ms", "latency_ms")}
    total = sum(stage[name] for name in STAGES)
    latency, age = stage["latency_ms"], stage["age_ms"]
    unsound = np.abs(total - latency) > STAGE_TOLERANCE_MS
    unsound |= (latency > age + STAGE_TOLERANCE_MS) | (age > outside + STAGE_TOLERANCE_MS)
    parts = {"in": age - latency} | {name.removesuffix("_ms"): stage[name] for name in STAGES}
    parts |= {"out": outside - age, "outside": outside}
    # Means, because medians do not add up.
    return {name: float(np.mean(values)) for name, values in parts.items()}, int(unsound.sum())


def highest_rate(measure, low, high, step, iterations):
    """The highest rate with at most 5 % loss.

    Args:
        measure: function of a rate in Hz that returns a `Run`.
        low, high, step: rates to try, Hz; multiples of `step` above `low`.
        iterations: runs that confirm the rate; with 3 or more, the best and the worst are discarded.

    Returns:
        (rate in Hz, mean loss there) or (0.0, loss at `low`) if even `low` loses more.
    """

    def holds(run):
        return run.loss <= LOSS_LIMIT and run.reached_hz >= FASTEST_PART * run.rate_hz

    below, above = 0, int((high - low) / step) + 1  # in steps over `low`; `above` is assumed to fail
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (middle, above) if holds(measure(low + middle * step)) else (below, middle)
    for number in range(below, -1, -1):
        runs = [measure(low + number * step) for _ in range(iterations)]
        losses = sorted(run.loss for run in runs)
        loss = float(np.mean(losses[1:-1] if iterations >= 3 else losses))
        if loss <= LOSS_LIMIT and np.median([run.reached_hz for run in runs]) >= FASTEST_PART * runs[0].rate_hz:
            return runs[0].rate_hz, loss
    return 0.0, loss


def cpu_seconds(pid):
    """CPU time of all threads of a process so far, in seconds (Linux); NaN for None."""
    if pid is None:
        return float("nan")
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid):
    """Resident memory of a process and its highest value so far, in megabytes (Linux); NaN for None."""
    if pid is None:
        return float("nan"), float("nan")
    lines = (line.partition(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    values = {name: value for name, _, value in lines}
    return tuple(int(values[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))
