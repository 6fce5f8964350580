# SPDX-License-Identifier: Apache-2.0
"""Memory of the node's process and of its accelerator: how much there is in use, and giving it back."""

import ctypes
import gc
import sys

MEGABYTE = 1e6


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
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of the GNU C library
    if trim is not None:
        trim(0)
