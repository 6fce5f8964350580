# SPDX-License-Identifier: Apache-2.0
"""The torch engine of a CUDA device: channels-last, half precision where it is safe, CUDA graphs.

Half precision is in the weights of the backbone and the neck, which are over 90 percent of the work. The decoder stays
in float32: it sums features over whole masks, which passes the range of float16, and compares mask logits with zero.
"""

import torch
from torch import nn

from yoso_ros.inference.cuda_graphs import GraphedNetwork
from yoso_ros.inference.fold import fold_batch_norms, fold_location
from yoso_ros.models.deformable_conv import ModulatedDeformConv2d, modulated_deform_conv2d

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class _BagDeformConv(nn.Module):
    """A deformable convolution in the form that keeps sampling positions in float32 for half-precision maps."""

    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def forward(self, x, offset, mask):
        return modulated_deform_conv2d(x, offset, mask, self.weight, form="embedding_bag")


class MixedPrecisionNetwork(nn.Module):
    """A folded copy of a network whose backbone and neck run in one of `DTYPES`.

    Args:
        model: a `Yoso`; it stays as it is.
        dtype: torch dtype.
    """

    def __init__(self, model, dtype):
        super().__init__()
        network = fold_batch_norms(model)
        fold_location(network)
        self.dtype = dtype
        self.backbone, self.neck, self.decoder = network.backbone, network.neck, network.decoder
        self.register_buffer("pixel_mean", network.pixel_mean)
        self.register_buffer("pixel_std", network.pixel_std)
        for parent in list(self.neck.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, ModulatedDeformConv2d):
                    setattr(parent, name, _BagDeformConv(child.weight))
        for part in (self.backbone, self.neck):
            for module in part.modules():
                # The normalisation after a deformable convolution takes half-precision maps with float32 statistics.
                if not isinstance(module, nn.BatchNorm2d):
                    for parameter in module.parameters(recurse=False):
                        parameter.data = parameter.data.to(dtype)
        self.eval().requires_grad_(False)

    def forward(self, images):
        """images float32 (B, 3, H, W) RGB 0..255 -> class_logits (B, N, C+1), mask_logits (B, N, H/4, W/4) float32."""
        images = ((images - self.pixel_mean) / self.pixel_std).to(self.dtype, memory_format=torch.channels_last)
        features = self.neck(self.backbone(images))
        return self.decoder(features.float())[-1]


class TorchCudaEngine:
    """Runs a network with torch on a CUDA device.

    Args:
        model: a `Yoso`; it stays as it is.
        device: torch device.
        precision: key of `DTYPES`.
    """

    def __init__(self, model, device, precision):
        self.device = torch.device(device)
        self.backend = f"torch-{self.device.type}-{precision}"
        self._network = MixedPrecisionNetwork(model, DTYPES[precision])
        self._network.to(self.device, memory_format=torch.channels_last)
        self._graphed = GraphedNetwork(self.forward, self.device)

    def forward(self, images):
        """images float32 (B, 3, H, W) on the device -> class_logits, mask_logits, without waiting; see `DevicePath`."""
        return self._network(images)

    def __call__(self, images):
        """images float32 (B, 3, H, W) on any device -> class_logits, mask_logits float32 on the engine's device."""
        return self._graphed(images)

    def synchronize(self):
        """Wait until the device has finished, so that a clock read afterwards means something."""
        torch.cuda.synchronize(self.device)
