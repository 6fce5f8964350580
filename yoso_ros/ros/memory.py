# SPDX-License-Identifier: Apache-2.0
"""Memory of the node's process and of its accelerator: how much is in use, and returning unused memory."""

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
        dict of str by name, megabytes; that of the accelerator (all its processes) only if the network runs on one.
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
    """Return memory of deleted objects from the allocators to the system and the accelerator."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    _call_allocator("malloc_trim", 0)


def share_arena():
    """Make all threads use one malloc arena, unless the environment says otherwise (MALLOC_ARENA_MAX).

    To be called before other libraries start threads. By default threads have separate arenas whose tops are never
    returned: the node grew with every clean-up, and its frames had more cache misses.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        _call_allocator("mallopt", M_ARENA_MAX, 1)


def _call_allocator(name, *values):
    function = getattr(ctypes.CDLL(None), name, None)  # of the GNU C library
    if function is not None:
        function(*values)
