# SPDX-License-Identifier: Apache-2.0
"""Processes of the throughput benchmark: one that keeps a core busy, and some that measure memory."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

from yoso_ros.errors import InputError

BUSY_S = 900  # a busy process ends by itself after this time, whatever happens to its parent
PROCESS_S = 600  # for one process that measures memory, such as that of one engine
# It also ends when its parent has ended: the system then assigns another parent.
_SPIN = "import os,sys,time\np,e=int(sys.argv[1]),time.monotonic()+float(sys.argv[2])\n"
_SPIN += "while os.getppid()==p and time.monotonic()<e: sum(range(20000))"


@contextlib.contextmanager
def busy_core():
    """Within the context, another process occupies one core."""
    process = subprocess.Popen([sys.executable, "-c", _SPIN, str(os.getpid()), str(BUSY_S)])
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def peak_memory_mb(model, weights, engine, size, kept=None):
    """Peak resident memory of a process that starts one engine and segments a few frames.

    Args:
        model, weights: as `load_benchmark_network`.
        engine: "NAME" or "NAME:PRECISION". size: (height, width). kept: as `create_ways`.

    Returns:
        MB (10^6 bytes).

    Raises:
        InputError: the process failed, or this system does not report it.
    """
    return memory_of_process(__name__, [model, weights, engine, list(size), kept], engine)


def memory_of_process(module, task, what):
    """The number that a module prints last when run as a separate process.

    Args:
        module: name. task: its argument, as JSON. what: the measured object, for errors.

    Raises:
        InputError: the process failed or did not answer.
    """
    command = [sys.executable, "-m", module, json.dumps(task)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROCESS_S, check=True)
        return json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired as error:
        raise InputError(f"memory of {what}: no answer within {PROCESS_S} s") from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"memory of {what}: the process failed: {last}") from error


def _run_engine(model, weights, engine, size, kept):
    """Run one engine and print the peak memory; called in a separate process."""
    import numpy as np

    from yoso_ros.benchmark.throughput import create_ways, load_benchmark_network, resized_config

    network = load_benchmark_network(model, weights)
    config = resized_config(network.config, size)
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    ways, reasons = create_ways(network, config, [engine], "cpu", [frame], kept)
    if not ways:
        raise InputError(reasons[0])
    del network  # as in `load_segmenter`, which does not keep it
    (way,) = ways.values()
    for _ in range(3):
        way(frame)
    print(json.dumps(peak_mb()))


def forget_peak():
    """Reset `peak_mb` to the current memory of this process, if the system supports it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb():
    """Peak resident memory of this process, MB. Not ru_maxrss, which starts with the size of the parent.

    Raises:
        InputError: this system does not tell.
    """
    status = Path("/proc/self/status")
    if not status.is_file():
        raise InputError("peak memory is read from /proc/self/status, which this system does not have")
    (line,) = (text for text in status.read_text().splitlines() if text.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    _run_engine(*json.loads(sys.argv[1]))
