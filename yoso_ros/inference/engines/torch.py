# SPDX-License-Identifier: Apache-2.0
"""The torch engine: eager PyTorch in channels-last memory, on a CPU or a CUDA device."""

import contextlib

import torch

from yoso_ros.errors import InputError
from yoso_ros.inference.engines.devices import find_device
from yoso_ros.inference.fold import fold_batch_norms

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class TorchEngine:
    """Runs a network with torch.

    Args:
        model: network; it stays as it is, the engine runs a copy with its batch normalisations folded.
        device: torch device.
        precision: "fp32", "bf16" or "fp16" (the latter two by autocast; sampling positions stay in float32).
    """

    def __init__(self, model, device, precision):
        self.device = torch.device(device)
        self.model = fold_batch_norms(model).to(self.device, memory_format=torch.channels_last)
        self.precision = precision
        self.backend = f"torch-{self.device.type}-{precision}"

    def __call__(self, images):
        """images float32 (B, 3, H, W) on any device -> class_logits, mask_logits float32 on the engine's device."""
        images = images.to(self.device, non_blocking=True)
        with torch.inference_mode(), self._autocast():
            outputs = self.model(images)
        return outputs.class_logits.float(), outputs.mask_logits.float()

    def _autocast(self):
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, _AUTOCAST[self.precision])

    def synchronize(self):
        """Wait until the device has finished, so that a clock read afterwards means something."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def create_engine(model, device, precision):
    """Build a `TorchEngine`; device "auto" is CUDA where there is one, precision "auto" is fp32.

    Raises:
        InputError: the device is unknown or not present, or the precision does not run on it.
    """
    device = find_device(device)
    precision = "fp32" if precision == "auto" else precision
    if precision == "fp16" and device.type == "cpu":
        raise InputError("precision fp16 needs a CUDA device; on a CPU use fp32 or bf16")
    return TorchEngine(model, device, precision)
