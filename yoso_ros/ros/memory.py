# SPDX-License-Identifier: Apache-2.0
"""Memory of the node's process and of its accelerator: how much there is in use, and giving it back."""

import ctypes
import gc
import os
import sys

MEGABYTE = 1e6
M_ARENA_MAX = -8  # of mallopt in the GNU C library's malloc.h


def memory_values(backend, device):
    """Memory of this process and of the accelerator.

    Args:
        backend: engine, device and precision, such as "torch-cuda-fp16".
        device: the parameter: "auto", "cuda", "cuda:1", ...

    Returns:
        dict of str by name, megabytes; the accelerator's, of all its processes, only where the network runs on one.
    """
    values = {}
    try:
        with open("/proc/self/status") as lines:
            kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
        values["memory (MB)"] = f"{kilobytes * 1024 / MEGABYTE:.0f}"
    except OSError:  # not Linux
        pass
    if "cuda" in backend or backend.startswith("tensorrt"):
        import torch

        free, total = torch.cuda.mem_get_info(device if device.startswith("cuda") else "cuda")
        values["device memory (MB)"] = f"{(total - free) / MEGABYTE:.0f} of {total / MEGABYTE:.0f}"
    return values


def free_memory():
    """Give back to the system and to the accelerator what objects that are gone have left to the allocators."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    _call_allocator("malloc_trim", 0)


def share_arena():
    """Have all threads take memory from one place, unless the environment says otherwise (MALLOC_ARENA_MAX).

    To be called before other libraries start threads. By default several threads have a place of their own, whose end
    is never given back: the node grew with every clean-up, and its frames found less of the memory in the cache.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        _call_allocator("mallopt", M_ARENA_MAX, 1)


def _call_allocator(name, *values):
    function = getattr(ctypes.CDLL(None), name, None)  # of the GNU C library
    if function is not None:
        function(*values)
