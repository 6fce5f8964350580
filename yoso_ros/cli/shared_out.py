# SPDX-License-Identifier: Apache-2.0
"""Shared parts of the commands that torchrun can distribute: joining the processes, and what a part depends on."""

import contextlib
import os
from pathlib import Path


@contextlib.contextmanager
def joined(arguments):
    """Join the processes of torchrun for the block and set `arguments.device` to this process's; else do nothing."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield
        return
    from yoso_ros.training.distributed import join_processes, leave_processes

    arguments.device = str(join_processes(arguments.device))
    try:
        yield
    finally:
        leave_processes()


def model_settings(segmenter, weights):
    """Plain values that identify the model behind a result.

    Args:
        segmenter: `Segmenter`.
        weights: path as given, or None.
    """
    state = Path(weights).stat() if weights and Path(weights).is_file() else None
    file = None if state is None else [str(Path(weights).absolute()), state.st_size, state.st_mtime_ns]
    return [repr(segmenter.config), segmenter.backend, weights, file]


def watched(show, unit="frame"):
    """A progress bar for a sized iterable, named after it; disabled if `show` is false."""

    def watch(source):
        from tqdm import tqdm

        return tqdm(source, Path(source.name).name, len(source), unit=unit, disable=not show)

    return watch
