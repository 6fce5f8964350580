# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros benchmark training`: training throughput in samples per second, by precision."""

from pathlib import Path

from yoso_ros.errors import InputError

SUMMARY = "Training throughput of a recipe by precision: samples per second and the share spent waiting for data."
EXAMPLE = "yoso-ros benchmark training synthetic_mobilenetv2 --data out/synthetic --device cuda"


def add_arguments(parser):
    """Add this benchmark's arguments."""
    parser.add_argument("recipe", help="name in config/training, or the path of a YAML file")
    parser.add_argument("--data", required=True, help="root of the data set, as for yoso-ros train")
    parser.add_argument("--split", default="train", help="split to read (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")
    parser.add_argument(
        "--precisions", nargs="+", default=["fp32"], choices=("fp32", "bf16", "fp16"), help="to time (default: fp32)"
    )
    parser.add_argument(
        "--steps", type=int, default=30, help="steps to measure, after 5 for warm-up (default: %(default)s)"
    )
    parser.add_argument("--workers", type=int, default=2, help="data-loading processes (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="also write the numbers to this JSON file")


def run(arguments):
    """Train for a few steps in each precision and print the rates; the trained weights are discarded."""
    from yoso_ros.benchmark.training import measure_training
    from yoso_ros.data import open_dataset
    from yoso_ros.files import write_json
    from yoso_ros.inference.engines.devices import find_device
    from yoso_ros.models import load_config
    from yoso_ros.training.config import load_recipe

    if arguments.steps < 1 or arguments.workers < 0:
        raise InputError(
            f"--steps: expected 1 or more and --workers 0 or more, found {arguments.steps}, {arguments.workers}"
        )
    recipe, device = load_recipe(arguments.recipe), find_device(arguments.device)
    dataset = open_dataset(arguments.data, arguments.split, load_config(recipe.model).label_set)
    print(f"{arguments.recipe}, batches of {recipe.batch_size}, {device}")
    print(f"{'precision':>9} {'samples/s':>10} {'ms/step':>10} {'peak MB':>8}")
    rows = []
    for precision in arguments.precisions:
        row = measure_training(recipe, precision, dataset, device, arguments.steps, arguments.workers)
        rows.append(row)
        print(
            f"{precision:>9} {row['samples_per_s']:>10.1f} {row['step_ms']:>10.1f} {row['peak_memory_mb'] or 0:>8.0f}",
            flush=True,
        )
    if arguments.output:
        write_json(arguments.output, {"recipe": arguments.recipe, "device": str(device), "rows": rows})
    return 0
