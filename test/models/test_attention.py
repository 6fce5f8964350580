# SPDX-License-Identifier: Apache-2.0
"""The attention modules equal the paper's equations written as loops, in float64."""

import pytest
import torch
import torch.nn.functional as F

from yoso_ros.models.yoso.attention import ATTENTIONS, pool_masked_features

B, N, D = 2, 5, 16


def build(name, kernel_size):
    torch.manual_seed(kernel_size)
    module = ATTENTIONS[name](D, N, kernel_size).double()
    return module, torch.randn(B, N, D).double(), torch.randn(B, N, D).double()


def dynamic_conv(kernels, value):
    """Equation 7 literally, with zero padding t // 2: kernels (N, M, t), value (M, D) -> (N, D)."""
    outputs, taps = len(kernels), kernels.shape[-1]
    out = torch.zeros(outputs, D, dtype=torch.float64)
    for i in range(outputs):
        for j in range(D):
            for p in range(len(value)):
                for q in range(taps):
                    position = j + q - taps // 2
                    if 0 <= position < D:
                        out[i, j] += kernels[i, p, q] * value[p, position]
    return out


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("name", ["sdca", "dca", "ddca", "pdca"])
def test_equals_the_equation(name, kernel_size):
    module, query, value = build(name, kernel_size)
    for b in range(B):
        predicted = module.kernel_generator(query[b])
        if name == "dca":
            expected = dynamic_conv(predicted.reshape(N, N, kernel_size), value[b])
        else:
            expected = value[b]
            if name in ("sdca", "ddca"):
                rows = [dynamic_conv(predicted[n : n + 1, None, :kernel_size], expected[n : n + 1]) for n in range(N)]
                expected = torch.cat(rows)
            if name == "sdca":
                expected = predicted[:, kernel_size:] @ F.relu(expected)
            if name == "pdca":
                expected = dynamic_conv(predicted[:, :, None], expected)
        assert torch.allclose(module(query, value)[b], module.norm(expected), rtol=0, atol=1e-10)


def test_multi_head_cross_attention_equals_torch():
    module, query, value = build("mhca", 3)
    heads = module.HEADS
    q, k, v = (
        F.linear(query, *[p[:D] for p in (module.attention.in_proj_weight, module.attention.in_proj_bias)]),
        *(
            F.linear(value, module.attention.in_proj_weight[s], module.attention.in_proj_bias[s])
            for s in (slice(D, 2 * D), slice(2 * D, None))
        ),
    )
    q, k, v = (x.unflatten(-1, (heads, D // heads)).transpose(1, 2) for x in (q, k, v))
    mixed = ((q @ k.transpose(-1, -2)) / (D // heads) ** 0.5).softmax(-1) @ v
    expected = module.norm(module.attention.out_proj(mixed.transpose(1, 2).flatten(2)))
    assert torch.allclose(module(query, value), expected, rtol=0, atol=1e-10)


def test_pooling_sums_over_the_hard_mask_and_stops_the_gradient():
    logits = torch.randn(B, N, 3, 4, dtype=torch.float64)
    logits[0, 0] = -1.0  # an empty mask
    logits.requires_grad_()
    features = torch.randn(B, D, 3, 4, dtype=torch.float64, requires_grad=True)
    pooled = pool_masked_features(logits, features)
    for b in range(B):
        for n in range(N):
            assert torch.allclose(pooled[b, n], features[b][:, logits[b, n] > 0].sum(1))
    pooled.sum().backward()
    assert logits.grad is None
    assert features.grad is not None
