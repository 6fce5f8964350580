# SPDX-License-Identifier: Apache-2.0
"""Runs of a node between a camera and a monitor: communication with their processes, which the caller starts."""

import contextlib
import json
import os
import queue
import shlex
import subprocess
import threading
import time
from dataclasses import dataclass

import numpy as np

from yoso_ros.benchmark.node_latency import Run, cpu_seconds, memory_mb, split_latency
from yoso_ros.errors import InputError

ANSWER_S = 120.0  # for a process of the benchmark
CONNECT_S = 180.0  # for the node to load its model
STOP_S = 5.0  # between asking a process to stop and killing it
QUIET_S = 1.0  # without a message, beyond the time of frames in progress, the run has ended
WARM_UP_S = 60.0  # for the node's first answer
POLL_S = 0.25  # between calls of `waiting` while a process works


class Role:
    """A process that answers each line with a line of JSON.

    Args:
        command: list of str.
        environment: dict of str, added to that of this process.
        start_s: time limit in seconds for it to become ready.
    """

    def __init__(self, command, environment, start_s=ANSWER_S):
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        self._lines = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        self._answer("to start", start_s)

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def ask(self, line, seconds=ANSWER_S, waiting=lambda: None):
        """The answer to a command; `waiting` is called from time to time until it arrives.

        Raises:
            InputError: the process ends, or does not answer within `seconds`.
        """
        try:
            print(line, file=self._process.stdin, flush=True)
        except BrokenPipeError as error:
            raise InputError(f"a process of the benchmark ended before the command {line!r}") from error
        return self._answer(f"the command {line!r}", seconds, waiting)

    def _answer(self, what, seconds=ANSWER_S, waiting=lambda: None):
        deadline, line = time.monotonic() + seconds, None
        while line is None and time.monotonic() < deadline:
            try:
                line = self._lines.get(timeout=POLL_S)
            except queue.Empty:
                waiting()
                continue
            if line is None:
                break
        if line is None:
            raise InputError(f"a process of the benchmark gave no answer within {seconds:g} s: {what}")
        return json.loads(line)

    def stop(self):
        """Stop the process by closing its input, so that it cleans up after itself."""
        self._process.stdin.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass(frozen=True)
class Played:
    """The fate of each frame of a run; frames are identified by their stamps in nanoseconds.

    Attributes:
        sent: list of the camera's entries: stamp, time of publishing, and for a recording its original stamp.
        answered: dict of stamp to the time when the last of its label topics arrived.
        stats: dict of stamp to the fields of InferenceStats.
    """

    sent: list
    answered: dict
    stats: dict


class Bench:
    """One node with its camera and its monitor, all running.

    Args:
        camera, monitor: each a `Role`, as yoso_ros.ros.runs.latency_roles has them.
        node: has `pid`, None for a process that is not monitored, and `check()`, which raises if the node has
            ended.
        cameras: number of cameras that publish simultaneously; a rate is that of each.
    """

    def __init__(self, camera, monitor, node, cameras=1):
        self._camera, self._monitor, self._node, self._cameras = camera, monitor, node, cameras
        self._counts = dict.fromkeys(("received", "processed", "dropped", "failed"), 0)

    def connect(self, waiting=lambda: None):
        """Wait until all are connected and answers arrive, then play a few frames as warm-up.

        Args:
            waiting: called from time to time.

        Raises:
            InputError: the node has ended, does not connect, or does not answer.
        """
        deadline = time.monotonic() + CONNECT_S
        while not self._camera.ask("subscribers") or not self._monitor.ask("publishers"):
            self._node.check()
            waiting()
            if time.monotonic() > deadline:
                raise InputError(f"the node did not connect within {CONNECT_S:g} s")
            time.sleep(0.2)
        self._wait_for_answer(waiting)
        self.run(10.0, 1.0)

    def _wait_for_answer(self, waiting):
        """Send a frame until it is answered, because discovery may not be complete on both sides."""
        pause, deadline = QUIET_S, time.monotonic() + WARM_UP_S
        while time.monotonic() < deadline:
            self._node.check()
            waiting()
            if self._collect(self._camera.ask("10 1"), pause).answered:
                break
            pause *= 2
        else:
            raise InputError(f"the node gave no answer to the first frame within {WARM_UP_S:g} s")
        # A slow node may still be working on the later ones, which must not count towards the next run.
        while self._last["received"] > sum(self._last[name] for name in ("processed", "dropped", "failed")):
            if not self._collect([[0]]).stats:
                return

    def _collect(self, sent, quiet_s=QUIET_S, waiting=lambda: None):
        got = self._monitor.ask(f"collect {len(sent)} {quiet_s}", waiting=waiting)
        topics = [dict(map(tuple, entries)) for entries in got["arrived"].values()]
        whole = set.intersection(*map(set, topics))
        answered = {stamp: max(topic[stamp] for topic in topics) for stamp in whole}
        self._last = got["stats"][-1] if got["stats"] else self._counts
        return Played(sent, answered, {entry["stamp"]: entry for entry in got["stats"]})

    @contextlib.contextmanager
    def recorded(self, folder):
        """Record the panoptic labels within a with block, into a folder that must not exist."""
        self._monitor.ask(f"record {shlex.quote(str(folder))}")
        yield
        self._monitor.ask("save")

    def run(self, rate_hz, seconds):
        """Play the first frames repeatedly for some time at a given rate; returns the `Run`."""
        count = max(2, round(rate_hz * seconds))
        return self.play(f"{rate_hz} {count}", rate_hz, 2 * seconds)[0]

    def play(self, command, rate_hz, seconds, waiting=lambda: None):
        """Let the camera play.

        Args:
            command: for the camera. rate_hz: the requested rate, for the record.
            seconds: time limit, not counting start and stop.
            waiting: called now and then.

        Returns:
            (`Run`, `Played`).
        """

        def look():
            self._node.check()
            waiting()

        look()
        pid = self._node.pid
        cpu, started = cpu_seconds(pid), time.monotonic()
        sent = self._camera.ask(command, ANSWER_S + seconds, look)
        cpu, elapsed = cpu_seconds(pid) - cpu, time.monotonic() - started
        played = self._collect(sent, waiting=look)
        self._node.check()
        counts = {name: self._last[name] - before for name, before in self._counts.items()}
        self._counts = {name: self._last[name] for name in self._counts}
        rows = [(1e-6 * (played.answered[s[0]] - s[1]), s[0]) for s in sent if s[0] in played.answered]
        stages, unsound = split_latency([(outside, played.stats[s]) for outside, s in rows if s in played.stats])
        memory, peak = memory_mb(pid)
        run = Run(
            rate_hz=rate_hz,
            reached_hz=(len(sent) / self._cameras - 1) / max(1e-9 * (sent[-1][1] - sent[0][1]), 1e-9),
            sent=len(sent),
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
        return run, played
