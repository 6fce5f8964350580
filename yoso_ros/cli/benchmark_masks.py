# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros benchmark masks`: masks from dense boxes beside the literal reading of the paper."""

from yoso_ros.cli.image_size import height_and_width
from yoso_ros.errors import InputError

SUMMARY = "Time masks from dense boxes beside the literal form (one instance after the other), interleaved in one run."
EXAMPLE = "yoso-ros benchmark masks --sizes 512x1024 1024x2048 --instances 20 100 --memory"
MULTIPLE = 32  # of the sides, so that every level fits


def add_arguments(parser):
    """Add this benchmark's arguments."""
    parser.add_argument(
        "--sizes", nargs="+", default=["512x1024"], metavar="HxW", help="network inputs (default: %(default)s)"
    )
    parser.add_argument(
        "--instances", nargs="+", type=int, default=[20, 100], help="boxes that look for a mask (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each (default: %(default)s)")
    parser.add_argument("--memory", action="store_true", help="also the peak memory of each, in a process of its own")
    parser.add_argument(
        "--model", default="realtimepan_r50_cityscapes", help="whose thresholds are used (default: %(default)s)"
    )


def run(arguments):
    """Measure every combination, then print the table."""
    from tqdm import tqdm

    from yoso_ros.benchmark.dense_masks import FORMS, measure_masks, peak_of_form_mb
    from yoso_ros.models import load_config

    if min(arguments.rounds, *arguments.instances) < 1:
        raise InputError("--rounds, --instances: expected at least 1")
    config = load_config(arguments.model)
    if not hasattr(config, "location_score"):
        raise InputError(f"--model: expected one whose masks are made from dense boxes, found {arguments.model}")
    sizes = [height_and_width("--sizes", text) for text in arguments.sizes]
    for size in sizes:
        if any(side % MULTIPLE for side in size):
            raise InputError(f"--sizes: expected multiples of {MULTIPLE}, found {size[0]}x{size[1]}")
    lines = ["masks from dense boxes on the CPU, equal in both forms; median ms by the clock, and of the processor"]
    names = "".join(f"{name:>24}" for name in FORMS)
    lines.append(f"{'input':>10} {'instances':>9} {'mask pixels':>12}{names}   ratio processor")
    for size, count in tqdm([(s, n) for s in sizes for n in arguments.instances], desc="masks", unit="case"):
        row = measure_masks(size, count, arguments.rounds, config)
        (literal, own), text = row.milliseconds.values(), f"{size[0]}x{size[1]}"
        times = "".join(f"{wall:13.1f} {processor:10.1f}" for wall, processor in (literal, own))
        ratios = f"{literal[0] / own[0]:6.1f}x {literal[1] / own[1]:8.1f}x"
        lines.append(f"{text:>10} {count:9d} {row.mask_pixels:12d}{times} {ratios}")
        if arguments.memory:
            peaks = {form: peak_of_form_mb(form, size, count, arguments.model) for form in FORMS}
            lines.append("peak MB above the input: " + ", ".join(f"{form} {mb:.0f}" for form, mb in peaks.items()))
    print("\n".join(lines))
    return 0
