# SPDX-License-Identifier: Apache-2.0
"""Single-core execution of the calling thread, without affecting any other thread."""

import contextlib
import ctypes
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import torch

_OPENMP = re.compile(r"/\S*/(?:libgomp|libiomp5|libomp)\S*\.so\S*")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keeps torch from parallelising the operations of this thread.

    Operations on tiles are so small that waking another core for each takes longer than the work: 17 instead of 11 ms
    for 30 kept at 800x1333 on two cores.

    This does not use `torch.set_num_threads`, which also affects the process: a thread whose first operation runs while
    another thread is in here would stay on one core for good. OpenMP's own setting is per thread.
    """
    libraries = _openmp_libraries()
    threads = torch.get_num_threads()  # first, because this call initialises the number of a new thread
    for library in libraries:
        library.omp_set_num_threads(1)
    try:
        yield
    finally:
        for library in libraries:
            library.omp_set_num_threads(threads)


@functools.cache
def _openmp_libraries():
    """The OpenMP libraries of this process; none if the system does not list them, which only costs speed."""
    torch.ones(1).add_(1)  # the first operation loads them at the latest
    maps = Path("/proc/self/maps")
    paths = set(_OPENMP.findall(maps.read_text())) if maps.is_file() else ()
    return tuple(ctypes.CDLL(path) for path in sorted(paths))
