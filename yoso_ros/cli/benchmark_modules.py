# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros benchmark modules`: FLOPs and latency compared with the paper's tables."""

from pathlib import Path

from yoso_ros.cli.image_size import height_and_width
from yoso_ros.errors import InputError

SUMMARY = "FLOPs of the paper's modules and of each model's parts, and latency here, compared with the paper's numbers."
EXAMPLE = "yoso-ros benchmark modules --figures out/figures --fps"
PART_SIZES = {  # height and width of the network input in the paper's Tables 1 to 4
    "yoso_r50_coco": ((512, 800), (800, 1333)),
    "yoso_r50_cityscapes": ((512, 1024), (1024, 2048)),
    "yoso_r50_ade20k": ((640, 864),),
    "yoso_r50_mapillary": ((1536, 2048),),
}
FPS_MODEL = "yoso_r50_coco"


def add_arguments(parser):
    """Add this benchmark's arguments."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=20, help="measurements per module (default: %(default)s)")
    parser.add_argument(
        "--figures", type=Path, metavar="DIR", help="draw Figure 5 into this folder (needs yoso-ros[plots])"
    )
    parser.add_argument("--fps", action="store_true", help="also time the settings of Tables 7 to 10 (takes minutes)")
    parser.add_argument(
        "--fps-size", default="800x1333", metavar="HxW", help="input size for --fps (default: %(default)s)"
    )
    parser.add_argument(
        "--fps-rounds", type=int, default=3, help="measurements per setting for --fps (default: %(default)s)"
    )


def run(arguments):
    """Count, measure and print the tables."""
    from tqdm import tqdm

    from yoso_ros.inference.engines.devices import find_device

    size = height_and_width("--fps-size", arguments.fps_size)
    if min(arguments.rounds, arguments.fps_rounds) < 1:
        raise InputError("--rounds, --fps-rounds: expected at least 1")
    device = find_device(arguments.device)
    if arguments.figures:
        from yoso_ros.benchmark.figures import draw_reduction_ratios

        draw_reduction_ratios(arguments.figures / "flops_reduction.png")
    steps = [lambda: _print_modules(device, arguments.rounds), _print_parts]
    if arguments.fps:
        steps.append(lambda: _print_fps(size, device, arguments.fps_rounds))
    for step in tqdm(steps, desc="modules", unit="table"):
        step()
    return 0


def _print_modules(device, rounds):
    from yoso_ros.benchmark.modules import (
        PAPER_FLOPS,
        PAPER_LATENCY_US,
        aggregation_ratio,
        attention_ratio,
        measure_modules,
    )

    lines = [f"Tables 5 and 6: each module on its own; median latency, here on {device}, in the paper on an RTX 3090"]
    lines.append(f"{'module':>8} {'FLOPs':>10} {'paper':>9} {'latency us':>11} {'paper us':>9}")
    for cost in measure_modules(device, rounds):
        flops, paper = _short(cost.flops), _short(PAPER_FLOPS[cost.name])
        lines.append(
            f"{cost.name.upper():>8} {flops:>10} {paper:>9} {cost.latency_us:11.0f} {PAPER_LATENCY_US[cost.name]:9d}"
        )
    lines.append(f"Equation 2 (IFA/CFA) at c5..c2 = 1024, 512, 256, 128, d = 128: {_eq2(aggregation_ratio):.2f}")
    lines.append(f"Equation 10 (MHCA/SDCA) at n = 100, d = 256, t = 3: {attention_ratio(100, 256, 3):.2f}")
    print("\n" + "\n".join(lines))


def _eq2(ratio):
    return ratio(1024, 512, 256, 128, 128)


def _print_parts():
    from yoso_ros.benchmark.flops import count_parts
    from yoso_ros.inference.preprocess import padded_size
    from yoso_ros.models import load_config, model_names
    from yoso_ros.models.factory import find_architecture

    lines = ["FLOPs (a multiply-accumulate counts as one) and parameters of each part"]
    for name in model_names():
        config = load_config(name)
        for size in PART_SIZES.get(name, ((config.shortest_edge, config.longest_edge),)):
            parts = count_parts(config, size)
            divisor = find_architecture(config.architecture).network.size_divisor
            padded = "x".join(map(str, padded_size([size], divisor)))
            text = ", ".join(f"{part} {flops / 1e9:.2f} G {count:,}" for part, (flops, count) in parts.items())
            total, parameters = (sum(part[i] for part in parts.values()) for i in range(2))
            lines.append(f"{name} {padded}: {text}; total {total / 1e9:.2f} G {parameters:,}")
    print("\n" + "\n".join(lines))


def _print_fps(size, device, rounds):
    from yoso_ros.benchmark.modules import PAPER_FPS, measure_fps
    from yoso_ros.models import load_config

    config = load_config(FPS_MODEL)
    measured = measure_fps(config, size, device, rounds)
    lines = [f"Tables 7 to 10: {FPS_MODEL} with random weights, {size[0]}x{size[1]}, network only, torch on {device}"]
    lines.append("relative: compared with the paper's own setting in the same column")
    lines.append(f"{'table':>6} {'setting':>24} {'FPS':>7} {'relative':>9} {'paper FPS':>10} {'relative':>9}")
    for table, (field, values) in PAPER_FPS.items():
        own = getattr(config, field)
        for value, paper in values.items():
            fps = measured[table, value]
            lines.append(
                f"{table:6d} {f'{field} {value}':>24} {fps:7.2f} {fps / measured[table, own]:9.2f} "
                f"{paper:10.1f} {paper / values[own]:9.2f}"
            )
    print("\n" + "\n".join(lines))


def _short(flops):
    """As the paper prints it: 16.6G, 0.3M."""
    return f"{flops / 1e9:.1f}G" if flops >= 1e9 else f"{flops / 1e6:.1f}M"
