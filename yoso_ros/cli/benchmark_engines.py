# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros benchmark engines`: one forward pass in each engine."""

from dataclasses import asdict
from pathlib import Path

from yoso_ros.cli.image_size import height_and_width
from yoso_ros.errors import InputError

SUMMARY = "Time one forward pass in each engine compared with eager torch, interleaved in one run."
ENGINES = {
    "cpu": ("torch", "onnxruntime", "openvino", "openvino:bf16", "openvino:int8"),
    "cuda": ("torch", "torch:bf16", "torch:fp16", "tensorrt", "tensorrt:fp16"),
}
EXAMPLE = "yoso-ros benchmark engines --sizes 360x480 512x800 --rounds 15"


def add_arguments(parser):
    """Add this benchmark's arguments."""
    parser.add_argument("--model", default="yoso_mobilenetv2_camvid", help="model name or YAML (default: %(default)s)")
    parser.add_argument("--weights", help="checkpoint (default: the one that comes with the model)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N (default: %(default)s)")
    parser.add_argument(
        "--engines",
        nargs="+",
        metavar="NAME[:PRECISION]",
        help="engines to time (default: those available for the device, in each of its precisions)",
    )
    parser.add_argument(
        "--sizes", nargs="+", default=["360x480", "512x800"], metavar="HxW", help="input sizes (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=10, help="measurements per engine (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="also write the numbers to this JSON file")


def run(arguments):
    """Measure every size, then print the table."""
    import torch
    from tqdm import tqdm

    from yoso_ros.benchmark.engines import create_engines, measure_engines, suggest
    from yoso_ros.files import write_json
    from yoso_ros.inference.preprocess import padded_size
    from yoso_ros.inference.segmenter import load_network
    from yoso_ros.processor import processor_line

    if arguments.rounds < 1:
        raise InputError(f"--rounds: expected at least 1, found {arguments.rounds}")
    sizes = [height_and_width("--sizes", text) for text in arguments.sizes]
    network = load_network(arguments.model, arguments.weights)
    names = arguments.engines or ENGINES["cpu" if arguments.device == "cpu" else "cuda"]
    engines, reasons = create_engines(network, arguments.device, names)
    for reason in reasons:
        print(f"left out {reason}")
    generator = torch.Generator().manual_seed(0)
    rows = []
    for height, width in tqdm(sizes, desc="engines", unit="size"):
        padded = padded_size([(height, width)], network.size_divisor)
        images = (255 * torch.rand(1, *padded, 3, generator=generator)).permute(0, 3, 1, 2)
        rows.append((f"{height}x{width}", measure_engines(engines, images, arguments.rounds)))
    if arguments.device == "cpu":
        print(f"on {processor_line()}; {arguments.rounds} rounds, ratios of the medians")
    print(
        f"{'input':>10} {'engine':<24} {'median ms':>10} {'least':>8} {'ratio':>6} "
        f"{'processor ms':>13} {'least':>8} {'ratio':>6}"
    )
    for size, times in rows:
        for t in times:
            wall, processor = times[0].wall_ms / t.wall_ms, times[0].processor_ms / t.processor_ms
            print(
                f"{size:>10} {t.name:<24} {t.wall_ms:10.1f} {t.least_wall_ms:8.1f} {wall:6.2f} "
                f"{t.processor_ms:13.1f} {t.least_processor_ms:8.1f} {processor:6.2f}"
            )
    for size, times in rows:
        found = suggest(times, arguments.device)
        if found is not None:
            best, exact, ratio = found
            print(f"for this machine at {size}: ros2 launch yoso_ros camera.launch.py {best}")
            if best != exact:
                print(f"  {ratio:.2f} times as fast as {exact}; check its PQ on your images first (yoso-ros evaluate)")
    if arguments.output:
        write_json(
            arguments.output,
            {"model": arguments.model, "left_out": reasons, "ms": {s: [asdict(t) for t in times] for s, times in rows}},
        )
    return 0
