# SPDX-License-Identifier: Apache-2.0
"""Several networks in several engines, from frame to result, interleaved in one run; their FLOPs and parameters."""

from pathlib import Path

from yoso_ros.benchmark.flops import count_parts
from yoso_ros.benchmark.throughput import (
    RANDOM,
    STAGES,
    create_ways,
    load_benchmark_network,
    measure_ways,
    resized_config,
)

PERCENTS = (0, 50, 95)


def create_networks(models, engines, size, device, frames, weights=None, kept=None):
    """All models in all engines, for `measure_networks`.

    Args:
        models: list of "MODEL" or "MODEL=WEIGHTS".
        engines: as of `create_ways`.
        size: (height, width) of the network input for frames of that size; None for each model's own.
        weights: for models without WEIGHTS: None for the model's own, or "random".
        kept: number of segments for each fusion if weights are random.

    Returns:
        (dict of (model, backend) to callable, list of reasons why one was left out, dict of model to costs).
    """
    ways, reasons, costs = {}, [], {}
    for text in models:
        model, _, own = text.partition("=")
        network = load_benchmark_network(model, own or weights)
        config = resized_config(network.config, size)
        given = kept if (own or weights) == RANDOM else None
        found, left_out = create_ways(network, config, engines, device, frames, given)
        reasons += [f"{model}: {reason}" for reason in left_out]
        ways |= {(config.name, backend): way for backend, way in found.items()}
        parts = count_parts(config, config.network_size(*frames[0].shape[:2])).values()
        costs[config.name] = {"flops": sum(flops for flops, _ in parts), "parameters": sum(n for _, n in parts)}
    return ways, reasons, costs


def measure_networks(ways, costs, frames, rounds, progress=None):
    """Measure all of them alternately.

    Returns:
        list of dict: model, backend, flops, parameters, ms {stage: {"p0", "p50", "p95"}}, in the order of `ways`.
    """
    rows = []
    for times in measure_ways(ways, frames, rounds, progress):
        model, backend = times.name
        milliseconds = {stage: {f"p{p}": times.percentile(stage, p) for p in PERCENTS} for stage in STAGES}
        rows.append({"model": model, "backend": backend, **costs[model], "ms": milliseconds})
    return rows


def quality_points(rows, reports):
    """Pair PQ with time, for `figures.draw_front`.

    Args:
        rows: of `measure_networks`.
        reports: list of dict, the `report.json` of `yoso-ros evaluate`; reports without a row of the same model
            and backend are left out.

    Returns:
        dict of data set to list of (model, backend, ms of a frame, PQ).
    """
    times = {(row["model"], row["backend"]): row["ms"]["total"]["p50"] for row in rows}
    points = {}
    for report in reports:
        key = Path(report["model"]).stem, report["backend"]
        if key in times and "panoptic_quality" in report:
            pq = report["panoptic_quality"]["All"]["PQ"]
            points.setdefault(Path(report["data"]).name, []).append((*key, times[key], pq))
    return points


def front(points):
    """The Pareto front of (model, backend, ms, PQ), fastest first."""
    kept = []
    for point in sorted(points, key=lambda p: (p[2], -p[3])):
        if not kept or point[3] > kept[-1][3]:
            kept.append(point)
    return kept
