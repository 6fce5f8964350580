# SPDX-License-Identifier: Apache-2.0
"""FLOPs of a network in the convention of the paper's tables, counted without computing anything.

The convention is the one of the authors' counter (paper supplement C): a multiply-accumulate is one FLOP; bilinear
upsampling takes 4 for each output element, an affine layer norm 5 and an affine batch norm at inference 2 for each
element; additions, activations and softmax take none. A deformable convolution counts as a dense one of its size.
"""

import math
from collections import Counter

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from yoso_ros.inference.preprocess import padded_size
from yoso_ros.models import create_model

BILINEAR, LAYER_NORM, BATCH_NORM = 4, 5, 2  # per element


def _convolution(arguments, output):
    images, weight, transposed = arguments[0], arguments[1], arguments[6]
    # A transposed convolution spreads each input element over a kernel, a plain one gathers a kernel for each output.
    places = math.prod((images if transposed else output).shape[2:])
    return images.shape[0] * weight.numel() * places


def _product(left, right):
    """A rule for the product of the arguments at two positions: (..., M, K) times (..., K, N)."""
    return lambda arguments, output: arguments[left].numel() * arguments[right].shape[-1]


_ATEN = torch.ops.aten
_RULES = {
    _ATEN.convolution: _convolution,
    _ATEN.mm: _product(0, 1),
    _ATEN.bmm: _product(0, 1),
    _ATEN.addmm: _product(1, 2),
    _ATEN.baddbmm: _product(1, 2),
    _ATEN.upsample_bilinear2d: lambda arguments, output: BILINEAR * output.numel(),
    _ATEN.native_layer_norm: lambda arguments, output: LAYER_NORM * arguments[0].numel(),
    _ATEN.native_batch_norm: lambda arguments, output: BATCH_NORM * arguments[0].numel(),
}


class FlopCounter(TorchDispatchMode):
    """Counts the FLOPs of operations that run inside the context.

    Attributes:
        by_part: Counter of the value of `part` at the time to FLOPs.
        part: key to which FLOPs are added; the caller changes it.
    """

    def __init__(self):
        super().__init__()
        self.by_part, self.part = Counter(), None

    @property
    def total(self):
        """All FLOPs counted so far."""
        return sum(self.by_part.values())

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        output = function(*arguments, **(keywords or {}))
        rule = _RULES.get(function.overloadpacket)
        if rule is not None:
            self.by_part[self.part] += rule(arguments, output)
        return output


def count_flops(module, *inputs):
    """FLOPs of one call of a module: int. On the device "meta" nothing is computed or stored."""
    with torch.no_grad(), FlopCounter() as counter:
        module(*inputs)
    return counter.total


def count_parts(config, size):
    """FLOPs and parameters of each part (direct child) of a model for one frame.

    Args:
        config: a model configuration.
        size: (height, width) of the network input; it is padded as at inference.

    Returns:
        dict of part name to (FLOPs, parameters), in the order of the network.
    """
    try:
        return _count_parts(config, size, "meta")
    except RuntimeError:  # Mask2Former and OneFormer read sizes from tensors, which have no values there
        return _count_parts(config, size, "cpu")


def _count_parts(config, size, device):
    with torch.device(device):
        model = create_model(config).eval()
    model.to(device)  # what transformers makes by the old `torch.Tensor(...)` is on the CPU
    images = torch.zeros(1, 3, *padded_size([size], model.size_divisor), device=device)
    # Attention as products, not as one operation.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounter() as counter:
        for name, part in model.named_children():
            part.register_forward_pre_hook(lambda *_, name=name: setattr(counter, "part", name))
        model(images)
    return {
        name: (counter.by_part[name], sum(p.numel() for p in part.parameters()))
        for name, part in model.named_children()
    }
