# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros benchmark networks`: several networks side by side, by stage and engine, and PQ over milliseconds."""

import json
from pathlib import Path

from yoso_ros.cli import timed_frames
from yoso_ros.errors import InputError

SUMMARY = "Time several networks in each engine, stage by stage, all in turns in one run; draw PQ over milliseconds."
EXAMPLE = (
    "yoso-ros benchmark networks --models yoso_r50_coco realtimepan_r50_coco dr1mask_r50_coco --weights random "
    "--sizes 512x800"
)
ENGINES = ("torch", "onnxruntime", "openvino", "openvino:bf16")
MODELS = ("yoso_mobilenetv2_synthetic", "realtimepan_mobilenetv2_synthetic", "dr1mask_mobilenetv2_synthetic")


def add_arguments(parser):
    """Add this benchmark's arguments."""
    parser.add_argument(
        "--models", nargs="+", default=list(MODELS), metavar="MODEL[=WEIGHTS]", help="(default: %(default)s)"
    )
    parser.add_argument("--weights", help="random: for times alone, of models without WEIGHTS (default: their own)")
    parser.add_argument(
        "--engines", nargs="+", default=list(ENGINES), metavar="NAME[:PRECISION]", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--quality", nargs="+", default=[], type=Path, metavar="REPORT", help="report.json of yoso-ros evaluate"
    )
    parser.add_argument("--figure", type=Path, help="draw PQ over milliseconds into this PNG file (extra plots)")
    timed_frames.add_arguments(parser, rounds=7)


def run(arguments):
    """Measure every size, print the tables, write and draw what was asked for."""
    from tqdm import tqdm

    from yoso_ros.benchmark.networks import create_networks, measure_networks
    from yoso_ros.benchmark.throughput import WARM_UP
    from yoso_ros.files import write_json

    timed_frames.check(arguments)
    if bool(arguments.quality) != bool(arguments.figure):
        raise InputError("--quality and --figure: expected both or neither")
    reports = [_read_report(path) for path in arguments.quality]
    measured = {}
    for size, frames in timed_frames.frames_by_size(arguments):
        ways, reasons, costs = create_networks(
            arguments.models, arguments.engines, size, arguments.device, frames, arguments.weights, arguments.kept
        )
        timed_frames.tell_left_out(ways, reasons)
        title = "x".join(map(str, size or frames[0].shape[:2]))
        with tqdm(total=WARM_UP + arguments.rounds, desc=title, unit="round") as bar:
            measured[title] = measure_networks(ways, costs, frames, arguments.rounds, bar.update)
        print(
            f"\n{title}, uint8 frame to PanopticResult, median ms, all in turns; GFLOPs: a multiply-accumulate is one"
        )
        print(table(measured[title]))
    if arguments.output:
        write_json(arguments.output, {"frames": measured})
    if arguments.figure:
        _draw(arguments.figure, measured, reports)
    return 0


def table(rows):
    """Lines for people, of rows of `measure_networks`."""
    width = max(len(row["model"]) for row in rows)
    stages = [stage for stage in rows[0]["ms"] if stage != "total"]
    head = "".join(f"{stage:>13}" for stage in stages)
    lines = [f"{'model':<{width}} {'engine':<22} {'GFLOPs':>7} {'M param':>8}{head} {'total':>9} {'p95':>8}"]
    for row in rows:
        cells = "".join(f"{row['ms'][stage]['p50']:13.1f}" for stage in stages)
        total = row["ms"]["total"]
        lines.append(
            f"{row['model']:<{width}} {row['backend']:<22} {row['flops'] / 1e9:7.1f} {row['parameters'] / 1e6:8.2f}"
            f"{cells} {total['p50']:9.1f} {total['p95']:8.1f}"
        )
    return "\n".join(lines)


def _draw(path, measured, reports):
    from yoso_ros.benchmark.figures import draw_front
    from yoso_ros.benchmark.networks import front, quality_points

    points = {}
    for title, rows in measured.items():
        points |= {f"{data}, frames of {title}": found for data, found in quality_points(rows, reports).items()}
    if not points:
        raise InputError("--quality: no report is of a model and an engine that were timed")
    draw_front(path, points, {title: front(found) for title, found in points.items()})
    print(f"figure: {path}")


def _read_report(path):
    try:
        report = json.loads(path.read_text())
        return report if report["model"] and report["backend"] and report["data"] else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"--quality: expected the report.json of yoso-ros evaluate --model, found {path}") from error
