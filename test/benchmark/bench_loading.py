# SPDX-License-Identifier: Apache-2.0
"""`bench_loading.py`: how many augmented training samples a second the loading processes deliver."""

import sys
import time

from yoso_ros.errors import InputError

SUMMARY = "Augmented training samples per second by the number of loading processes, without any training."
EXAMPLE = "python test/benchmark/bench_loading.py camvid_mobilenetv2 --data ../camvid --workers 0 1 2"


def add_arguments(parser):
    """Add this benchmark's arguments."""
    parser.add_argument("recipe", help="name in config/training, or the path of a YAML file")
    parser.add_argument("--data", required=True, help="root of the data set, as for yoso-ros train")
    parser.add_argument("--split", default="train", help="split to read (default: %(default)s)")
    parser.add_argument(
        "--workers", nargs="+", type=int, default=[0, 1, 2], help="numbers of loading processes (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="time of each measurement (default: %(default)s)")


def run(arguments):
    """Load batches for a while with each number of workers and print the rates."""
    import torch

    from yoso_ros.data import open_dataset
    from yoso_ros.models import load_config
    from yoso_ros.training.augment import Augmentation
    from yoso_ros.training.batches import ShareOfBatches, TrainingSet, load_batches
    from yoso_ros.training.config import load_recipe

    if min(arguments.workers) < 0 or arguments.seconds <= 0:
        raise InputError(
            f"--workers: expected 0 or more and --seconds more than 0, found {arguments.workers}, {arguments.seconds:g}"
        )
    recipe = load_recipe(arguments.recipe)
    label_set = load_config(recipe.model).label_set
    dataset = open_dataset(arguments.data, arguments.split, label_set)
    augment = Augmentation(recipe.augmentation, label_set)
    total = recipe.iterations * recipe.batch_size
    samples = TrainingSet(dataset, augment, total, recipe.seed)
    print(f"{arguments.recipe}, batches of {recipe.batch_size}, samples from file to augmented masks")
    print(f"{'workers':>8} {'samples/s':>10} {'ratio':>7}")
    first = None
    for workers in arguments.workers:
        sampler = ShareOfBatches(0, total, recipe.batch_size, 0, 1)
        batches = iter(load_batches(samples, sampler, workers=workers, device=torch.device("cpu")))
        for _ in range(max(1, workers)):
            next(batches)  # the processes start, and each begins with a batch of its own
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < arguments.seconds:
            batch = next(batches, None)
            if batch is None:
                break
            count += len(batch[0])
        rate = count / (time.perf_counter() - started)
        first = first or rate
        print(f"{workers:>8} {rate:>10.1f} {rate / first:>6.2f}x", flush=True)
        del batches
    return 0


if __name__ == "__main__":
    import script

    sys.exit(script.main(sys.modules["__main__"]))
