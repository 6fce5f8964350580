# SPDX-License-Identifier: Apache-2.0
"""What commands share that a launch by torchrun shares out: joining the processes, and what a part depends on."""

import contextlib
import os
from pathlib import Path


@contextlib.contextmanager
def joined(arguments):
    """Joins the processes of torchrun for the block; `arguments.device` becomes this process's. Else does nothing."""
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
    """What says which model made a result, as plain values.

    Args:
        segmenter: `Segmenter`.
        weights: path as given, or None.
    """
    state = Path(weights).stat() if weights and Path(weights).is_file() else None
    file = None if state is None else [str(Path(weights).absolute()), state.st_size, state.st_mtime_ns]
    return [repr(segmenter.config), segmenter.backend, weights, file]


def watched(show, unit="frame"):
    """A progress bar for a sized iterable, named after it, or nothing where `show` is false."""

    def watch(source):
        from tqdm import tqdm

        return tqdm(source, Path(source.name).name, len(source), unit=unit, disable=not show)

    return watch
