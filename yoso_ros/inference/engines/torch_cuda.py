# SPDX-License-Identifier: Apache-2.0
"""The torch engine for CUDA devices: channels-last, half precision where it is safe, CUDA graphs."""

import torch

from yoso_ros.inference.cuda_graphs import GraphedNetwork
from yoso_ros.inference.precision import EngineNetwork


class TorchCudaEngine:
    """Runs a network with torch on a CUDA device.

    Args:
        model: a `PanopticNetwork`; it is not changed.
        device: torch device.
        precision: key of `yoso_ros.inference.precision.DTYPES`, for the feature modules.
    """

    def __init__(self, model, device, precision):
        self.device, self.size_divisor = torch.device(device), model.size_divisor
        self.backend = f"torch-{self.device.type}-{precision}"
        self._network = EngineNetwork(model, precision)
        self._network.to(self.device, memory_format=torch.channels_last)
        self._outputs = model.Outputs
        self._graphed = GraphedNetwork(self.forward, self.device)

    def forward(self, images):
        """images float32 (B, 3, H, W) on the device -> `Outputs` of the network, without waiting; see `DevicePath`."""
        return self._network(images)

    def __call__(self, images):
        """images float32 (B, 3, H, W) on any device -> `Outputs` of the network, float32 on the engine's device."""
        return self._outputs(*self._graphed(images))

    def synchronize(self):
        """Wait until the device has finished, so that timings taken afterwards are meaningful."""
        torch.cuda.synchronize(self.device)
