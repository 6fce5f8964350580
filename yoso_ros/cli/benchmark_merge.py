# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros benchmark merge`: the panoptic merge compared with a direct implementation."""

from yoso_ros.cli.image_size import height_and_width
from yoso_ros.errors import InputError

SUMMARY = "Time the panoptic merge against the reference (all proposals upsampled), interleaved in one run."
EXAMPLE = "yoso-ros benchmark merge --sizes 512x800 800x1333 --kept 5 30 100 --output-size 720x1280"


def add_arguments(parser):
    """Add this benchmark's arguments."""
    parser.add_argument(
        "--sizes",
        nargs="+",
        default=["512x800", "800x1333", "1024x2048"],
        metavar="HxW",
        help="network input sizes (default: %(default)s)",
    )
    parser.add_argument(
        "--kept",
        nargs="+",
        type=int,
        default=[5, 30, 100],
        help="number of proposals kept, out of 100 (default: %(default)s)",
    )
    parser.add_argument("--output-size", metavar="HxW", help="size of the map (default: the input size)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements per case (default: %(default)s)")
    parser.add_argument(
        "--model", default="yoso_r50_coco", help="model whose thresholds are used (default: %(default)s)"
    )


def run(arguments):
    """Measure every combination, then print the table."""
    from tqdm import tqdm

    from yoso_ros.benchmark.bounds import measured_bandwidth
    from yoso_ros.benchmark.merge import PROPOSALS, least_traffic, measure_merge
    from yoso_ros.models import load_config
    from yoso_ros.processor import processor_line

    if arguments.rounds < 1:
        raise InputError(f"--rounds: expected at least 1, found {arguments.rounds}")
    for kept in arguments.kept:
        if not 1 <= kept <= PROPOSALS:
            raise InputError(f"--kept: expected 1 to {PROPOSALS}, found {kept}")
    config = load_config(arguments.model)
    sizes = [height_and_width("--sizes", text) for text in arguments.sizes]
    output_size = height_and_width("--output-size", arguments.output_size) if arguments.output_size else None
    cases = [(size, kept) for size in sizes for kept in arguments.kept]
    rows = [
        measure_merge(size, output_size or size, kept, arguments.rounds, config)
        for size, kept in tqdm(cases, desc="merge", unit="case")
    ]
    print("panoptic merge on the CPU, median ms; reference: all proposals upsampled, loop over segments; same map")
    print(f"on {processor_line()}; {arguments.rounds} rounds, ratios of the medians")
    bandwidth = measured_bandwidth()
    print(f"bound: reading the kept logits and writing the maps once, at the measured {bandwidth / 1e9:.1f} GB/s")
    print(
        f"{'input':>10} {'output':>10} {'kept':>5} {'segments':>9} {'reference':>9} "
        f"{'merge':>8} {'least':>8} {'ratio':>7}  bound"
    )
    for row in rows:
        source, target = ("x".join(map(str, side)) for side in (row.input_size, row.output_size))
        print(
            f"{source:>10} {target:>10} {row.kept:5d} {row.segments:9d} "
            f"{row.literal_ms:9.1f} {row.merge_ms:8.1f} {row.least_merge_ms:8.1f} "
            f"{row.literal_ms / row.merge_ms:6.1f}x "
            f"{1e3 * least_traffic(row.input_size, row.output_size, row.kept) / bandwidth:6.1f}"
        )
    return 0
