# SPDX-License-Identifier: Apache-2.0
"""Time of one forward pass in each engine, interleaved in one run, compared with plain eager torch."""

import copy
import statistics
import time
from dataclasses import dataclass

import torch

from yoso_ros.errors import InputError
from yoso_ros.inference.engines import create_engine

BASELINE = "torch, not folded"
WARM_UP = 2  # rounds before those that are measured
MOST_PRECISE = ("fp32", "fp16", "bf16", "int8")
SAME = 1.05  # a smaller ratio of times does not justify a lower precision


@dataclass(frozen=True)
class EngineTime:
    """One engine at one size in ms: medians, `processor_ms` summed over all threads, and the minimum of each."""

    name: str
    wall_ms: float
    processor_ms: float
    least_wall_ms: float = float("nan")
    least_processor_ms: float = float("nan")


def create_engines(model, device, names):
    """The baseline and every engine "NAME" or "NAME:PRECISION" that can run here.

    Args:
        model: in evaluation mode.
        device: "cpu", "cuda" or "cuda:N".
        names: list of str.

    Returns:
        (dict of backend name to a callable, list of reasons why one was left out).
    """
    plain = copy.deepcopy(model).to(device, memory_format=torch.channels_last).requires_grad_(False)

    def baseline(images):
        with torch.inference_mode():
            return plain(images.to(device))

    engines, reasons = {BASELINE: baseline}, []
    for name in names:
        engine, _, precision = name.partition(":")
        try:
            engine = create_engine(engine, model, device, precision or "fp32")
            engines[engine.backend] = engine
        except InputError as error:
            reasons.append(f"{name}: {error}")
    return engines, reasons


def suggest(times, device):
    """Choose the engine for this machine: the most precise of those about as fast as the fastest.

    Args:
        times: list of `EngineTime` at one size, the baseline first.
        device: as of `create_engines`.

    Returns:
        (arguments of a launch file for the fastest, the same for the fastest in fp32, ratio of their times); None if no
        engine was timed.
    """
    ways = {t: t.name.rpartition("-")[2] for t in times[1:]}
    if not ways:
        return None
    enough = SAME * min(t.wall_ms for t in ways)
    best = min((t for t in ways if t.wall_ms <= enough), key=lambda t: (MOST_PRECISE.index(ways[t]), t.wall_ms))
    exact = min((t for t in ways if ways[t] == "fp32"), key=lambda t: t.wall_ms, default=best)
    return *(_launch_arguments(t.name, device) for t in (best, exact)), exact.wall_ms / best.wall_ms


def _launch_arguments(backend, device):
    engine, _, precision = backend.split("-")
    return f"engine:={engine} precision:={precision}" + (f" device:={device}" if device != "cpu" else "")


def measure_engines(engines, images, rounds):
    """Run all engines alternately, `rounds` times.

    Args:
        engines: the first result of `create_engines`.
        images: float32 (B, 3, H, W) RGB 0..255.
        rounds: number of measurements of each.

    Returns:
        list of `EngineTime` in the order of `engines`.
    """
    times = {name: [] for name in engines}
    for turn in range(WARM_UP + rounds):
        for name, engine in engines.items():
            wall, processor = time.perf_counter(), time.process_time()
            engine(images)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn >= WARM_UP:
                times[name].append((1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - processor)))
    return [
        EngineTime(name, *(of(column) for of in (statistics.median, min) for column in zip(*pairs, strict=True)))
        for name, pairs in times.items()
    ]
