# SPDX-License-Identifier: Apache-2.0
"""Both forms of the modulated deformable convolution equal a naive loop in float64, borders and outside included."""

import math

import pytest
import torch

from yoso_ros.models.deformable_conv import FORMS, modulated_deform_conv2d


def naive(x, offset, mask, weight):
    """The definition, one sample at a time: x (B, C, H, W) -> (B, O, H, W)."""
    batch, channels, height, width = x.shape
    out = torch.zeros(batch, weight.shape[0], height, width, dtype=x.dtype)
    for b in range(batch):
        for row in range(height):
            for column in range(width):
                for tap in range(9):
                    y = row + tap // 3 - 1 + offset[b, 2 * tap, row, column].item()
                    x_position = column + tap % 3 - 1 + offset[b, 2 * tap + 1, row, column].item()
                    sample = torch.zeros(channels, dtype=x.dtype)
                    for yy in (math.floor(y), math.floor(y) + 1):
                        for xx in (math.floor(x_position), math.floor(x_position) + 1):
                            if 0 <= yy < height and 0 <= xx < width:
                                sample += (1 - abs(y - yy)) * (1 - abs(x_position - xx)) * x[b, :, yy, xx]
                    sample = sample * mask[b, tap, row, column]
                    out[b, :, row, column] += weight[:, :, tap // 3, tap % 3] @ sample
    return out


def arguments(batch, channels, height, width, outputs, spread):
    generator = torch.Generator().manual_seed(height * 100 + width)
    kwargs = {"generator": generator, "dtype": torch.float64}
    return (
        torch.randn(batch, channels, height, width, **kwargs),
        spread * torch.randn(batch, 18, height, width, **kwargs),
        torch.rand(batch, 9, height, width, **kwargs),
        torch.randn(outputs, channels, 3, 3, **kwargs),
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(1, 3, 1, 1, 2), (2, 4, 5, 7, 3), (1, 2, 6, 3, 5)])
@pytest.mark.parametrize("spread", [0.0, 3.0])
def test_equals_naive_loop(form, size, spread):
    values = arguments(*size, spread)
    assert torch.allclose(FORMS[form](*values), naive(*values), rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_integer_offsets_on_the_border(form):
    x, offset, mask, weight = arguments(1, 2, 4, 4, 2, 0.0)
    offset += torch.tensor([-1.0, 4.0]).repeat(9).view(1, 18, 1, 1)
    assert torch.allclose(FORMS[form](x, offset, mask, weight), naive(x, offset, mask, weight), rtol=0, atol=1e-12)


def test_gradients_of_the_forms_agree():
    values = arguments(2, 3, 5, 4, 2, 1.5)
    gradients = []
    for form in FORMS:
        leaves = [v.clone().requires_grad_() for v in values]
        FORMS[form](*leaves).square().sum().backward()
        gradients.append([leaf.grad for leaf in leaves])
    for first, second in zip(*gradients, strict=True):
        assert torch.allclose(first, second, rtol=1e-9, atol=1e-9)


def test_zero_offset_is_a_plain_convolution():
    x, _, _, weight = arguments(1, 3, 6, 8, 4, 0.0)
    plain = torch.nn.functional.conv2d(x, weight, padding=1)
    shape = (1, 18, 6, 8)
    result = modulated_deform_conv2d(x, x.new_zeros(shape), x.new_ones(1, 9, 6, 8), weight)
    assert torch.allclose(result, plain, rtol=0, atol=1e-12)
