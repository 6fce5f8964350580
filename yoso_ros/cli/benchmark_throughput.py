# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros benchmark throughput`: the complete path from frame to result in each engine and precision."""

from pathlib import Path

from yoso_ros.cli import timed_frames
from yoso_ros.errors import InputError

SUMMARY = (
    "Frames per second from uint8 frame to result, per engine and precision, against the authors' method in torch."
)
EXAMPLE = "yoso-ros benchmark throughput --model yoso_r50_coco --weights random --sizes 512x800 800x1333 --busy-core"
ENGINES = ("baseline", "torch", "onnxruntime", "openvino", "openvino:bf16", "openvino:int8")
FACTORS, CAMERAS, KEPT = (0.25, 0.5, 0.75, 1.0), (1, 2, 4), (1, 10, 30, 60, 100)  # for the plots
GROWTH_ROUNDS = 5


def add_arguments(parser):
    """Add this benchmark's arguments."""
    parser.add_argument("--model", default="yoso_mobilenetv2_camvid", help="model name or YAML (default: %(default)s)")
    parser.add_argument("--weights", help="checkpoint (default: the model's), or random if only times matter")
    parser.add_argument(
        "--engines",
        nargs="+",
        default=list(ENGINES),
        metavar="NAME[:PRECISION]",
        help="engines to time; ratios are relative to the first; baseline is the authors' method, "
        "baseline:embedding_bag the same with a faster deformable convolution (default: %(default)s)",
    )
    parser.add_argument("--busy-core", action="store_true", help="repeat with another process occupying one core")
    parser.add_argument("--bounds", action="store_true", help="also print the minimum time for the FLOPs on this CPU")
    parser.add_argument("--memory", action="store_true", help="also the peak memory of each, in a separate process")
    timed_frames.add_arguments(parser, rounds=15)
    parser.add_argument(
        "--figures", type=Path, metavar="DIR", help="plot how the cost grows into this folder (needs yoso-ros[plots])"
    )


def run(arguments):
    """Measure every size, then print the tables."""
    from yoso_ros.benchmark.throughput import RANDOM, create_ways, load_benchmark_network, resized_config
    from yoso_ros.files import write_json

    timed_frames.check(arguments)
    timed, report = timed_frames.frames_by_size(arguments), {}
    if arguments.figures:
        from yoso_ros.benchmark.figures import check_matplotlib

        check_matplotlib()
    network = load_benchmark_network(arguments.model, arguments.weights)
    kept = arguments.kept if arguments.weights == RANDOM else None
    for size, frames in timed:
        config = resized_config(network.config, size)
        ways, reasons = create_ways(network, config, arguments.engines, arguments.device, frames, kept)
        timed_frames.tell_left_out(ways, reasons)
        report |= _measure(arguments, ways, config, frames, size, kept)
    if arguments.output:
        write_json(arguments.output, {"model": arguments.model, "left_out": reasons, "ms": report})
    if arguments.figures:
        _draw_growth(arguments.figures, ways, config, size or frames[0].shape[:2])
    return 0


def _measure(arguments, ways, config, frames, size, kept):
    """Print the tables of one size; returns the percentiles of each way and stage in ms, by that size."""
    from tqdm import tqdm

    from yoso_ros.benchmark.processes import busy_core, peak_memory_mb
    from yoso_ros.benchmark.throughput import WARM_UP, measure_ways
    from yoso_ros.processor import processor_line

    shape = size or frames[0].shape[:2]
    title = f"{shape[0]}x{shape[1]}"
    with tqdm(total=(1 + arguments.busy_core) * (WARM_UP + arguments.rounds), desc=title, unit="round") as bar:
        quiet = measure_ways(ways, frames, arguments.rounds, bar.update)
        busy = None
        if arguments.busy_core:
            with busy_core():
                busy = measure_ways(ways, frames, arguments.rounds, bar.update)
    what = f"random weights, {kept} proposals kept" if kept else "proposals of the network"
    print(f"\n{arguments.model}, {title}, uint8 frame to PanopticResult, {what}; ms are least / p50 / p95 / p99")
    print(f"on {processor_line()}; {arguments.rounds} rounds, ratios of the medians")
    print(_table(quiet))
    if busy:
        print("with another process occupying one core; slowdown: relative to the table above")
        print(_table(busy, quiet))
    if arguments.bounds:
        print(_bounds(quiet, config, shape))
    if arguments.memory:
        for name in tqdm(arguments.engines, desc="memory", unit="engine"):
            try:
                peak = peak_memory_mb(arguments.model, arguments.weights, name, shape, kept)
            except InputError as error:
                print(error)
                continue
            print(f"peak memory in a separate process, {name}: {peak:.0f} MB")
    return {title: {row.name: _percentiles(row) for row in quiet}}


def _percentiles(row):
    return {stage: {f"p{p}": row.percentile(stage, p) for p in (0, 50, 95, 99)} for stage in row.stages}


def _table(rows, quiet=None):
    from yoso_ros.benchmark.throughput import STAGES

    stages = "".join(f"{stage:>34}" for stage in STAGES)
    lines = [f"{'way':<26} {'frames/s':>8} {'ratio':>6}{stages}" + ("  slowdown" if quiet else "")]
    for index, row in enumerate(rows):
        ratio = rows[0].percentile("total", 50) / row.percentile("total", 50)
        cells = "".join(f"{' / '.join(f'{row.percentile(s, p):.1f}' for p in (0, 50, 95, 99)):>34}" for s in STAGES)
        line = f"{row.name:<26} {row.fps:8.2f} {ratio:6.2f}{cells}"
        if quiet:
            line += f"  {row.percentile('total', 50) / quiet[index].percentile('total', 50):7.2f}x"
        lines.append(line)
    return "\n".join(lines)


def _bounds(rows, config, shape):
    """The minimum time of each OpenVINO engine among the rows, as lines of text."""
    import torch

    from yoso_ros.benchmark.bounds import arithmetic_bound_ms, measured_peak, network_flops

    flops = network_flops(config, config.network_size(*shape))
    peaks = {precision: measured_peak(precision, torch.get_num_threads()) for precision in ("fp32", "bf16", "int8")}
    lines = ["arithmetic bound of the network alone (a multiply-accumulate counts as one FLOP)"]
    lines.append("  per frame: " + ", ".join(f"{kind} {count / 1e9:.2f} G" for kind, count in flops.items()))
    lines.append("  measured peak: " + ", ".join(f"{name} {peak / 1e9:.0f} G/s" for name, peak in peaks.items()))
    for row in rows:
        engine, _, precision = row.name.rpartition("-")
        if engine == "openvino-cpu":
            bound, spent = arithmetic_bound_ms(flops, precision, peaks), row.percentile("inference", 50)
            ratio = rows[0].percentile("total", 50) / bound
            lines.append(
                f"  {row.name}: at least {bound:.0f} ms, {100 * bound / spent:.0f} % of the {spent:.0f} ms it took; "
                f"at this bound the ratio would be {ratio:.2f}"
            )
    return "\n".join(lines)


def _draw_growth(folder, ways, config, size):
    from tqdm import tqdm

    from yoso_ros.benchmark.figures import draw_lines
    from yoso_ros.benchmark.merge import measure_merge
    from yoso_ros.benchmark.throughput import measure_growth
    from yoso_ros.inference.segmenter import Segmenter

    by_size, by_cameras = {}, {}
    engines = {name: way for name, way in ways.items() if isinstance(way, Segmenter)}
    for name, way in tqdm(engines.items(), desc="growth", unit="engine"):
        grown = measure_growth(way, size, FACTORS, CAMERAS, GROWTH_ROUNDS)
        by_size[name], by_cameras[name] = (tuple(zip(*points, strict=True)) for points in grown)
    merges = [measure_merge(size, size, kept, GROWTH_ROUNDS, config) for kept in tqdm(KEPT, desc="merge", unit="case")]
    by_kept = {
        "this merge": (KEPT, [times.merge_ms for times in merges]),
        "reference merge": (KEPT, [times.literal_ms for times in merges]),
    }
    smallest = "x".join(str(round(min(FACTORS) * side)) for side in size)
    draw_lines(
        folder / "throughput_growth.png",
        [
            (f"{config.name}: one frame", "megapixels of the input", "ms", by_size),
            (f"cameras in one pass at {smallest}", "cameras", "ms per camera", by_cameras),
            (f"merge at {size[0]}x{size[1]}", "kept proposals", "ms", by_kept),
        ],
    )
    print(f"figure: {folder / 'throughput_growth.png'}")
