# SPDX-License-Identifier: Apache-2.0
"""The torch engine: eager PyTorch in channels-last memory on a CPU; `TorchCudaEngine` on a CUDA device."""

import contextlib

import torch

from yoso_ros.errors import InputError
from yoso_ros.inference.engines.devices import find_device
from yoso_ros.inference.engines.torch_cuda import TorchCudaEngine
from yoso_ros.inference.fold import fold_batch_norms, fold_location


class TorchEngine:
    """Runs a network with torch on a CPU.

    Args:
        model: network; it stays as it is, the engine runs a copy with normalisations and location convolution folded.
        precision: "fp32" or "bf16" (by autocast; sampling positions stay in float32).
    """

    device = torch.device("cpu")

    def __init__(self, model, precision):
        network = fold_batch_norms(model)
        fold_location(network)
        self.model = network.to(self.device, memory_format=torch.channels_last)
        self.precision = precision
        self.backend = f"torch-cpu-{precision}"

    def __call__(self, images):
        """images float32 (B, 3, H, W) -> class_logits, mask_logits float32."""
        with torch.inference_mode(), self._autocast():
            outputs = self.model(images)
        return outputs.class_logits.float(), outputs.mask_logits.float()

    def _autocast(self):
        return contextlib.nullcontext() if self.precision == "fp32" else torch.autocast("cpu", torch.bfloat16)

    def synchronize(self):
        """Nothing to wait for: a call returns when it is done."""


def create_engine(model, device, precision):
    """Build a `TorchEngine`, on a CUDA device a `TorchCudaEngine`; precision "auto" is fp32.

    Raises:
        InputError: the device is unknown or not present, or the precision does not run on it.
    """
    device = find_device(device)
    precision = "fp32" if precision == "auto" else precision
    if precision not in ("fp32", "bf16", "fp16"):
        raise InputError(f"precision {precision} is not one of the torch engine; it runs fp32, bf16 and fp16")
    if precision == "fp16" and device.type == "cpu":
        raise InputError("precision fp16 needs a CUDA device; on a CPU use fp32 or bf16")
    return TorchEngine(model, precision) if device.type == "cpu" else TorchCudaEngine(model, device, precision)
