# SPDX-License-Identifier: Apache-2.0
"""Latency, loss and cost of the node seen from outside: definitions, and the runs; the processes come from the caller.

The definitions are those of ros2_benchmark: latency from publishing an image to receiving its answer, matched by stamp;
the highest rate is the one with at most 5 % loss, by bisection and then confirmed downwards, each time in several
iterations of which the best and the worst are left out.
"""

import json
import os
import queue
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yoso_ros.errors import InputError

LOSS_LIMIT = 0.05
ANSWER_S = 120.0  # for a process of the benchmark
CONNECT_S = 180.0  # for the node to load its model
STOP_S = 5.0  # between asking a process to stop and killing it
QUIET_S = 1.0  # without a message a run is over
STAGES = ("queue_ms", "preprocess_ms", "inference_ms", "postprocess_ms", "publish_ms")
STAGE_TOLERANCE_MS = 1.0
FASTEST_PART = 0.95  # a camera that does not reach this part of its rate is the limit itself
TOPICS = 4  # panoptic, semantic, segments, stats


class Role:
    """A process that answers each line with a line of JSON.

    Args:
        command: list of str.
        environment: dict of str, added to that of this process.
    """

    def __init__(self, command, environment):
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        self._lines = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        self._answer("to start")

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def ask(self, line, seconds=ANSWER_S):
        """The answer to a command. Raises InputError when the process ends or is silent for `seconds`."""
        try:
            print(line, file=self._process.stdin, flush=True)
        except BrokenPipeError as error:
            raise InputError(f"a process of the benchmark ended before the command {line!r}") from error
        return self._answer(f"the command {line!r}", seconds)

    def _answer(self, what, seconds=ANSWER_S):
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            line = None
        if line is None:
            raise InputError(f"a process of the benchmark gave no answer within {seconds:g} s: {what}")
        return json.loads(line)

    def stop(self):
        """End the process: the end of its commands is the end of its work, so that it leaves nothing behind."""
        self._process.stdin.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass(frozen=True)
class Run:
    """What one run gave. Times in milliseconds; `stages` are means over the answered frames.

    Attributes:
        rate_hz: asked of the camera; reached_hz: its own.
        sent, received, processed, dropped, failed, answered: frames; answered ones have all label topics received.
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
        """Part of the sent frames without a whole answer, 0..1."""
        return 1.0 - self.answered / self.sent

    def percentile(self, percent):
        """Latency in milliseconds; NaN without answers."""
        return float(np.percentile(self.latency, percent)) if self.latency.size else float("nan")


class Bench:
    """One node with its camera and its monitor, all running.

    Args:
        camera, monitor: `Role`s, as yoso_ros.ros.latency_roles has them.
        node: has `pid` and `check()`, which raises when the node has ended.
    """

    def __init__(self, camera, monitor, node):
        self._camera, self._monitor, self._node = camera, monitor, node
        self._counts = dict.fromkeys(("received", "processed", "dropped", "failed"), 0)

    def connect(self):
        """Wait until all see each other, then play a few frames for the caches."""
        deadline = time.monotonic() + CONNECT_S
        while not self._camera.ask("subscribers") or self._monitor.ask("publishers") < TOPICS:
            self._node.check()
            if time.monotonic() > deadline:
                raise InputError(f"the node did not connect within {CONNECT_S:g} s")
            time.sleep(0.2)
        time.sleep(1.0)  # what one side has seen, the other may not have yet
        self.run(10.0, 1.0)

    def run(self, rate_hz, seconds):
        """Play frames for some time at a rate; returns the `Run`."""
        count = max(2, round(rate_hz * seconds))
        self._node.check()
        cpu, started = cpu_seconds(self._node.pid), time.monotonic()
        sent = self._camera.ask(f"{rate_hz} {count}", ANSWER_S + 2 * seconds)
        cpu, elapsed = cpu_seconds(self._node.pid) - cpu, time.monotonic() - started
        got = self._monitor.ask(f"collect {QUIET_S}")
        self._node.check()
        arrived = [dict(map(tuple, entries)) for entries in got["arrived"].values()]
        stats = {entry["stamp"]: entry for entry in got["stats"]}
        last = got["stats"][-1] if got["stats"] else self._counts
        counts = {name: last[name] - before for name, before in self._counts.items()}
        self._counts = {name: last[name] for name in self._counts}
        rows = []
        for stamp, published in sent:
            if all(stamp in topic for topic in arrived):
                outside = 1e-6 * (max(topic[stamp] for topic in arrived) - published)
                rows.append((outside, stats.get(stamp)))
        stages, unsound = split_latency([(outside, entry) for outside, entry in rows if entry])
        memory, peak = memory_mb(self._node.pid)
        return Run(
            rate_hz=rate_hz,
            reached_hz=(count - 1) / max(1e-9 * (sent[-1][1] - sent[0][1]), 1e-9),
            sent=count,
            **counts,
            answered=len(rows),
            latency=np.array([outside for outside, _ in rows]),
            cpu_percent=100 * cpu / elapsed,
            cpu_ms=1e3 * cpu / max(1, counts["processed"]),
            memory_mb=memory,
            peak_mb=peak,
            stages=stages,
            unsound=unsound,
        )


def split_latency(rows):
    """Split what was measured outside into the node's stages and the transports around them.

    Args:
        rows: list of (latency measured outside in milliseconds, dict of the fields of InferenceStats).

    Returns:
        dict of means in milliseconds ("in", the stages, "out", "outside"; empty without rows), and the number of rows
        that do not hold together: stages that miss the latency by over 1 ms, or a latency within the node that
        is over 1 ms longer than the age since the stamp or than the outside measurement.
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
    # Means, for medians do not add up.
    return {name: float(np.mean(values)) for name, values in parts.items()}, int(unsound.sum())


def highest_rate(measure, low, high, step, iterations):
    """The highest rate with at most 5 % loss.

    Args:
        measure: function of a rate in Hz that returns a `Run`.
        low, high, step: rates to look at, Hz; multiples of `step` above `low`.
        iterations: runs that confirm the rate; with 3 or more the best and the worst are left out.

    Returns:
        (rate in Hz, mean loss there) or (0.0, loss at `low`) when even `low` loses more.
    """

    def holds(run):
        return run.loss <= LOSS_LIMIT and run.reached_hz >= FASTEST_PART * run.rate_hz

    below, above = 0, int((high - low) / step) + 1  # in steps over `low`; `above` is taken not to hold
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
    """CPU time of all threads of a process so far, in seconds (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid):
    """Resident memory of a process and its highest value so far, in megabytes (Linux)."""
    lines = (line.partition(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    values = {name: value for name, _, value in lines}
    return tuple(int(values[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))
