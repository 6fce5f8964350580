# SPDX-License-Identifier: Apache-2.0
"""Which part of a network may run in half precision, and the network that does so.

The rule is defined by the network itself (`PanopticNetwork.feature_modules`): these modules are most of the work and
tolerate reduced precision. The head stays in float32: YOSO's head sums features over whole masks, which can exceed the
range of float16, and compares mask logits with zero; detector heads compute with coordinates and areas of boxes.
"""

import torch
from torch import nn

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class EngineNetwork(nn.Module):
    """A reparameterised copy of a network whose feature modules compute in one of `DTYPES`, its head in float32.

    Args:
        model: a `PanopticNetwork`; it is not changed.
        precision: key of `DTYPES`.
    """

    def __init__(self, model, precision):
        super().__init__()
        self.network, self.dtype = model.reparameterize(), DTYPES[precision]
        for name in self.network.feature_modules:
            for module in getattr(self.network, name).modules():
                # A normalisation that could not be folded handles half-precision maps with float32 statistics.
                if not isinstance(module, nn.modules.batchnorm._BatchNorm):
                    for parameter in module.parameters(recurse=False):
                        parameter.data = parameter.data.to(self.dtype)
        self.eval().requires_grad_(False)

    def forward(self, images):
        """images float32 (B, 3, H, W) RGB 0..255 -> `Outputs` of the network in float32."""
        images = self.network.normalize(images).to(self.dtype, memory_format=torch.channels_last)
        return self.network.forward_head(in_float32(self.network.forward_features(images)))


def in_float32(features):
    """The features of a network, a tensor or a tuple of tensors, in float32."""
    return features.float() if torch.is_tensor(features) else tuple(map(in_float32, features))


def float_parts(network):
    """Names of the child modules that stay in float32: list of str."""
    return [name for name, _ in network.named_children() if name not in network.feature_modules]
