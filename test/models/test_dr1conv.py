# SPDX-License-Identifier: Apache-2.0
"""Dynamic rank-1 convolution against its definition with an explicit kernel at every pixel, in float64."""

import torch

from yoso_ros.models.dr1mask.dr1conv import DR1Conv, aligned_upsample


def by_definition(x, a, b, weight, b_at_neighbour):
    """Sum over the taps of W * (a b^T) at each pixel; Eq. 4 takes b at the centre, Eq. 3 at the neighbour."""
    batch, channels, height, width = x.shape
    reach = weight.shape[2] // 2
    out = torch.zeros(batch, weight.shape[0], height, width, dtype=x.dtype)
    for row in range(height):
        for column in range(width):
            for i in range(-reach, reach + 1):
                for j in range(-reach, reach + 1):
                    y, x_ = row + i, column + j
                    if 0 <= y < height and 0 <= x_ < width:
                        kernel = weight[:, :, i + reach, j + reach]
                        scale = b[:, :, y, x_] if b_at_neighbour else b[:, :, row, column]
                        out[:, :, row, column] += scale * ((x * a)[:, :, y, x_] @ kernel.T)
    return out


def test_equation_4_with_an_explicit_kernel_at_every_pixel():
    torch.manual_seed(0)
    layer = DR1Conv(5, 3).double().eval()
    x, a, b = (torch.randn(2, 5, 6, 7, dtype=torch.float64) for _ in range(3))
    with torch.no_grad():
        expected = by_definition(x, a, b, layer.conv.weight, b_at_neighbour=False)
        assert (layer(x, a, b) - expected).abs().max() < 1e-12
        other = by_definition(x, a, b, layer.conv.weight, b_at_neighbour=True)
        assert (other - expected).abs().max() > 0.1  # Eq. 3 and Eq. 4 are not the same


def test_aligned_upsampling_by_its_definition():
    """Places 2k are the places k, those between are means of neighbours; a stride-2 grid stays where it was."""
    torch.manual_seed(0)
    for size in ((5, 7), (6, 8), (1, 3)):
        x = torch.randn(2, 3, *size, dtype=torch.float64)
        found = aligned_upsample(x, (2 * size[0], 2 * size[1]))
        assert (found[..., ::2, ::2] - x).abs().max() < 1e-12
        between = (x[..., :, :-1] + x[..., :, 1:]) / 2
        assert (found[..., ::2, 1:-1:2] - between).abs().max() < 1e-12
        assert torch.equal(aligned_upsample(x, (2 * size[0] - 1, 2 * size[1])), found[..., :-1, :])
