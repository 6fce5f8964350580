# SPDX-License-Identifier: Apache-2.0
"""Frames per second and percentiles of each stage, from a uint8 frame to its result, with interleaved engines.

Legend: `N` proposals, `C` classes; `h w` stride-4 map.
"""

import dataclasses
import time
from dataclasses import dataclass

import numpy as np
import torch

from yoso_ros.benchmark.given_outputs import GivenOutputs
from yoso_ros.benchmark.literal_segmenter import LiteralSegmenter
from yoso_ros.errors import InputError
from yoso_ros.inference.engines import create_engine
from yoso_ros.inference.segmenter import Segmenter, load_network
from yoso_ros.models import create_model, load_config

RANDOM = "random"  # instead of the path of weights
STAGES = ("preprocess", "inference", "postprocess", "total")
WARM_UP = 2  # rounds before those that are measured
CALIBRATION_FRAMES = 2  # int8 of random weights serves timing only


@dataclass(frozen=True)
class StageTimes:
    """Times of one way in ms: stage to float array (rounds,). "total" is measured from outside."""

    name: str
    stages: dict

    def percentile(self, stage, percent):
        """Percentile of one of `STAGES`, in ms."""
        return float(np.percentile(self.stages[stage], percent))

    @property
    def fps(self):
        """Frames per second, processed one at a time."""
        return 1e3 / float(self.stages["total"].mean())


class _ReplacedOutputs:
    """An engine whose outputs are replaced after it has run."""

    def __init__(self, engine, replace):
        self.device, self.backend, self.size_divisor = engine.device, engine.backend, engine.size_divisor
        self.synchronize = engine.synchronize
        self._engine, self._replace = engine, replace

    def __call__(self, images):
        return self._replace(self._engine(images))

    def forward(self, images):
        """For engines on a CUDA device; the replacement is created in the first call, before any capture."""
        return self._replace(self._engine.forward(images))


def load_benchmark_network(model, weights, seed=0):
    """The network of a configuration with its weights; `weights` "random" creates reproducible random ones."""
    if weights != RANDOM:
        return load_network(model, weights)
    torch.manual_seed(seed)
    return create_model(load_config(model)).eval().requires_grad_(False)


def resized_config(config, size):
    """A configuration whose network input is `size` for frames of that size; None changes nothing."""
    return config if size is None else dataclasses.replace(config, shortest_edge=min(size), longest_edge=max(size))


def create_ways(network, config, names, device, frames, kept=None):
    """The baseline and each engine, from frame to result.

    Args:
        network: in evaluation mode.
        config: its configuration, with the wanted input size.
        names: list of "baseline", "baseline:FORM", "ENGINE" or "ENGINE:PRECISION".
        device: "cpu", "cuda" or "cuda:N".
        frames: list of uint8 (H, W, 3); int8 of random weights is calibrated with the first ones.
        kept: number of given segments that each way merges; None for those of the network.

    Returns:
        (dict of name to callable, list of reasons why one was left out).
    """
    replace = None if kept is None else GivenOutputs(kept, config)
    ways, reasons = {}, []
    for name in names:
        engine, _, precision = name.partition(":")
        try:
            if engine == "baseline":
                way = LiteralSegmenter(network, config, device, precision or "grid_sample", replace)
            else:
                if precision == "int8" and kept is not None:
                    _quantize_for_time(network, frames)
                engine = create_engine(engine, network, device, precision or "fp32")
                way = Segmenter(config, engine if replace is None else _ReplacedOutputs(engine, replace))
            ways[way.backend] = way
        except InputError as error:
            reasons.append(f"{name}: {error}")
    return ways, reasons


def _quantize_for_time(network, frames):
    from yoso_ros.inference.openvino_graph import QUANTIZED, graph_folder
    from yoso_ros.inference.quantize import one_size, quantize

    frames = frames[:CALIBRATION_FRAMES]
    if not graph_folder(network, QUANTIZED, one_size(network, frames)[0]).is_dir():
        quantize(network, frames)


def measure_ways(ways, frames, rounds, progress=None):
    """Run all ways alternately on the same frames.

    Args:
        ways: dict of name to callable from a frame to a `PanopticResult`.
        frames: list of uint8 (H, W, 3), used in order, repeatedly.
        rounds: measurements of each.
        progress: called after each round.

    Returns:
        list of `StageTimes` in the order of `ways`.
    """
    spent = {name: {stage: [] for stage in STAGES} for name in ways}
    for turn in range(WARM_UP + rounds):
        frame = frames[turn % len(frames)]
        for name, way in ways.items():
            started = time.perf_counter()
            result = way(frame)
            total = 1e3 * (time.perf_counter() - started)
            if turn >= WARM_UP:
                for stage, value in {**result.timings_ms, "total": total}.items():
                    spent[name][stage].append(value)
        if progress is not None:
            progress()
    return [StageTimes(n, {stage: np.array(values) for stage, values in times.items()}) for n, times in spent.items()]


def measure_growth(segmenter, size, factors, cameras, rounds):
    """How the cost of one engine grows: minimum ms for each scale of the input, and per camera of one batch.

    The minimum of the rounds, because other load at one point would distort the shape of the curve.

    Args:
        segmenter: `Segmenter`.
        size: (height, width) of the largest input.
        factors: fractions of `size` to run. cameras: numbers of frames in one pass, at the smallest input.
        rounds: measurements of each.

    Returns:
        (list of (megapixels, ms), list of (cameras, ms per camera)).
    """
    by_size, by_cameras = [], []
    for factor in factors:
        resized, frame = _at_scale(segmenter, size, factor)
        least = _least_ms(lambda run=resized, frame=frame: run(frame), rounds)
        by_size.append((frame.shape[0] * frame.shape[1] / 1e6, least))
    resized, frame = _at_scale(segmenter, size, min(factors))
    for count in cameras:
        frames = [frame] * count
        by_cameras.append((count, _least_ms(lambda frames=frames: resized.batch(frames), rounds) / count))
    return by_size, by_cameras


def _at_scale(segmenter, size, factor):
    """A Segmenter whose input is a part of `size`, and a grey frame of that size."""
    scaled = tuple(max(segmenter.engine.size_divisor, round(factor * side)) for side in size)
    return segmenter.at_size(min(scaled), max(scaled)), np.full((*scaled, 3), 128, np.uint8)


def _least_ms(call, rounds):
    spent = []
    for _ in range(1 + rounds):
        started = time.perf_counter()
        call()
        spent.append(1e3 * (time.perf_counter() - started))
    return min(spent[1:])
