# SPDX-License-Identifier: Apache-2.0
"""User-facing device names to torch devices."""

import torch

from yoso_ros.errors import InputError


def find_device(name):
    """The torch device for "auto" (CUDA if available), "cpu", "cuda" or "cuda:N".

    Raises:
        InputError: the device is unknown or not present.
    """
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
    except RuntimeError as error:
        raise InputError(f"device: expected auto, cpu, cuda or cuda:N, found {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device: expected auto, cpu, cuda or cuda:N, found {str(device)!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device {device} is not present: {torch.cuda.device_count()} CUDA devices found; use cpu or auto"
        )
    return device


def require_cpu(engine, name):
    """Check that a device name suits an engine that runs only on the CPU: "auto" or "cpu".

    Raises:
        InputError: it is a different one.
    """
    if name != "auto" and find_device(name).type != "cpu":
        raise InputError(f"the {engine} engine runs on the CPU, not on {name}; use device cpu or engine torch")
