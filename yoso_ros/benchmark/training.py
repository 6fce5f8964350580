# SPDX-License-Identifier: Apache-2.0
"""Time of training steps, from reading files to updating weights."""

import dataclasses
import statistics
import tempfile
import time

import torch

from yoso_ros.models import create_model, load_config
from yoso_ros.training.augment import Augmentation
from yoso_ros.training.trainer import Trainer, seed_everything

WARM_UP = 5  # warm-up steps: libraries are loaded, kernels are chosen


def measure_training(recipe, precision, dataset, device, steps, workers):
    """Train a fresh model of a recipe for a few steps.

    Args:
        recipe: `TrainingConfig`.
        precision: "fp32", "bf16" or "fp16".
        dataset: data set to train on.
        device: torch device.
        steps: number of measured steps.
        workers: data-loading processes.

    Returns:
        dict of plain values: precision, samples_per_s, step_ms (median), batch_size, peak_memory_mb of the device, or
        None on a CPU.
    """
    recipe = dataclasses.replace(recipe, precision=precision, iterations=WARM_UP + steps)
    seed_everything(recipe.seed)
    config = load_config(recipe.model)
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    ends = []

    def on_step(*_):
        if on_gpu:
            torch.cuda.synchronize(device)
        ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory(prefix="training-") as folder:
        augmentation = Augmentation(recipe.augmentation, config.label_set)
        trainer = Trainer(
            create_model(config), recipe, dataset, augmentation, folder, device=device, on_step=on_step, workers=workers
        )
        trainer.run(progress=False)
    ends = ends[WARM_UP - 1 :]
    times = [end - start for start, end in zip(ends, ends[1:], strict=False)]
    return {
        "precision": precision,
        "samples_per_s": recipe.batch_size * len(times) / (ends[-1] - ends[0]),
        "step_ms": 1e3 * statistics.median(times),
        "batch_size": recipe.batch_size,
        "peak_memory_mb": torch.cuda.max_memory_allocated(device) / 1e6 if on_gpu else None,
    }
