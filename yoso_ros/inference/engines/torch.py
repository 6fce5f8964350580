# SPDX-License-Identifier: Apache-2.0
"""The torch engine: eager PyTorch in channels-last memory on a CPU; `TorchCudaEngine` on a CUDA device."""

import torch

from yoso_ros.errors import InputError
from yoso_ros.inference.engines.devices import find_device
from yoso_ros.inference.engines.torch_cuda import TorchCudaEngine
from yoso_ros.inference.precision import DTYPES, EngineNetwork


class TorchEngine:
    """Runs a network with torch on a CPU.

    Args:
        model: a `PanopticNetwork`; it is not changed.
        precision: "fp32" or "bf16" (for the feature modules).
    """

    device = torch.device("cpu")

    def __init__(self, model, precision):
        self.size_divisor = model.size_divisor
        self._network = EngineNetwork(model, precision).to(self.device, memory_format=torch.channels_last)
        self.backend = f"torch-cpu-{precision}"

    def __call__(self, images):
        """images float32 (B, 3, H, W) -> `Outputs` of the network, float32."""
        with torch.inference_mode():
            return self._network(images)

    def synchronize(self):
        """Nothing to wait for: calls are synchronous."""


def create_engine(model, device, precision):
    """Build a `TorchEngine`, on a CUDA device a `TorchCudaEngine`; precision "auto" is fp32.

    Raises:
        InputError: the device is unknown or not present, or does not support the precision.
    """
    device = find_device(device)
    precision = "fp32" if precision == "auto" else precision
    if precision not in DTYPES:
        raise InputError(f"precision {precision} is not one of the torch engine; it runs {', '.join(DTYPES)}")
    if precision == "fp16" and device.type == "cpu":
        raise InputError("precision fp16 needs a CUDA device; on a CPU use fp32 or bf16")
    return TorchEngine(model, precision) if device.type == "cpu" else TorchCudaEngine(model, device, precision)
