# SPDX-License-Identifier: Apache-2.0
"""Work of the calling thread on one core, without a change to any other thread."""

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
    """Keeps torch from sharing out the operations of this thread among cores.

    Those on tiles are so small that waking another core for each takes longer than the work: 17 instead of 11 ms for
    30 kept at 800x1333 on two cores.

    Not by `torch.set_num_threads`: that is for the process as well, so that a thread whose first operation comes while
    another thread is in here would keep one core for good. OpenMP's own number belongs to the thread that sets it.
    """
    libraries = _openmp_libraries()
    threads = torch.get_num_threads()  # first, because it is what gives a new thread its number
    for library in libraries:
        library.omp_set_num_threads(1)
    try:
        yield
    finally:
        for library in libraries:
            library.omp_set_num_threads(threads)


@functools.cache
def _openmp_libraries():
    """The OpenMP libraries of this process; none on a system that does not tell, where the work is merely slower."""
    torch.ones(1).add_(1)  # loaded with the first operation at the latest
    maps = Path("/proc/self/maps")
    paths = set(_OPENMP.findall(maps.read_text())) if maps.is_file() else ()
    return tuple(ctypes.CDLL(path) for path in sorted(paths))
