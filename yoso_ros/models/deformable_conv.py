# SPDX-License-Identifier: Apache-2.0
"""Modulated deformable convolution (DCNv2) in plain torch, in two equivalent forms.

Legend: `B` batch, `C` input channels, `O` output channels, `K` = 9 taps (row-major over the 3x3 kernel), `H W` map.
Offsets are (y, x) interleaved per tap in pixels; a sample outside (-1, H) x (-1, W) is zero and border taps are
partially zero, as in the CUDA kernel of DCNv2 that the YOSO authors use.
"""

import torch
import torch.nn.functional as F
from torch import nn

KERNEL_SIZE = 3
TAPS = KERNEL_SIZE * KERNEL_SIZE


def _sample_positions(offset):
    """Absolute sampling positions in pixels: offset (B, 2K, H, W) -> y, x, each (B, K, H, W).

    Never in half precision: above 128 pixels float16 resolves only 0.125 pixels.
    """
    offset = offset.float() if offset.dtype in (torch.float16, torch.bfloat16) else offset
    height, width = offset.shape[-2:]
    kwargs = {"device": offset.device, "dtype": offset.dtype}
    tap = torch.arange(TAPS, device=offset.device)
    tap_y = (tap // KERNEL_SIZE - 1).to(offset.dtype).view(1, TAPS, 1, 1)
    tap_x = (tap % KERNEL_SIZE - 1).to(offset.dtype).view(1, TAPS, 1, 1)
    y = offset[:, 0::2] + tap_y + torch.arange(height, **kwargs).view(1, 1, height, 1)
    x = offset[:, 1::2] + tap_x + torch.arange(width, **kwargs).view(1, 1, 1, width)
    return y, x


def _deform_conv_grid_sample(x, offset, mask, weight):
    """Columns via `grid_sample`: differentiable everywhere and portable to ONNX (GridSample)."""
    batch, channels, height, width = x.shape
    y_position, x_position = _sample_positions(offset)
    grid = torch.stack(((2 * x_position + 1) / width - 1, (2 * y_position + 1) / height - 1), dim=-1)
    grid = grid.reshape(batch, TAPS * height, width, 2).to(x.dtype)
    columns = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    columns = columns.reshape(batch, channels, TAPS, height, width) * mask.unsqueeze(1)
    columns = columns.reshape(batch, channels * TAPS, height * width)
    return (weight.reshape(weight.shape[0], -1) @ columns).reshape(batch, -1, height, width)


def _deform_conv_embedding_bag(x, offset, mask, weight):
    """Columns as a weighted `embedding_bag` over the pixels, then a single matrix product: the fast form on a CPU."""
    batch, channels, height, width = x.shape
    y_position, x_position = _sample_positions(offset)
    y_floor, x_floor = y_position.floor(), x_position.floor()
    y_fraction, x_fraction = y_position - y_floor, x_position - x_floor
    image = torch.arange(batch, device=x.device, dtype=torch.int32).view(batch, 1, 1, 1) * (height * width)
    indices, weights = [], []
    for dy in (0, 1):
        for dx in (0, 1):
            y_corner, x_corner = y_floor + dy, x_floor + dx
            inside = (y_corner >= 0) & (y_corner < height) & (x_corner >= 0) & (x_corner < width)
            row = y_corner.clamp(0, height - 1).to(torch.int32)
            column = x_corner.clamp(0, width - 1).to(torch.int32)
            indices.append(image + row * width + column)
            area = (y_fraction if dy else 1 - y_fraction) * (x_fraction if dx else 1 - x_fraction)
            weights.append(area * mask * inside)
    # (B, K, H, W, 4) -> a bag of four pixels per (image, pixel, tap), taps innermost, so that rows form GEMM columns.
    indices = torch.stack(indices, -1).permute(0, 2, 3, 1, 4).reshape(-1, 4)
    weights = torch.stack(weights, -1).permute(0, 2, 3, 1, 4).reshape(-1, 4).to(x.dtype)
    table = x.permute(0, 2, 3, 1).reshape(-1, channels)
    columns = F.embedding_bag(indices, table, mode="sum", per_sample_weights=weights)
    columns = columns.reshape(batch * height * width, TAPS * channels)
    kernel = weight.permute(0, 2, 3, 1).reshape(weight.shape[0], TAPS * channels)
    return (columns @ kernel.t()).reshape(batch, height, width, -1).permute(0, 3, 1, 2)


FORMS = {"grid_sample": _deform_conv_grid_sample, "embedding_bag": _deform_conv_embedding_bag}


def modulated_deform_conv2d(
    x: torch.Tensor, offset: torch.Tensor, mask: torch.Tensor, weight: torch.Tensor, form: str = "auto"
) -> torch.Tensor:
    """Modulated deformable 3x3 convolution, stride 1, padding 1, no bias.

    Args:
        x: (B, C, H, W).
        offset: (B, 2K, H, W) pixels, channels 2t = y and 2t+1 = x of tap t.
        mask: (B, K, H, W) modulation, 0..1.
        weight: (O, C, 3, 3).
        form: "grid_sample", "embedding_bag", or "auto": embedding_bag for inference on a CPU and for half-precision
            maps (it keeps the sampling positions in float32), else grid_sample.

    Returns:
        (B, O, H, W).
    """
    if form == "auto":
        tracing = torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.onnx.is_in_onnx_export()
        inference = not torch.is_grad_enabled() and not tracing
        half = x.dtype in (torch.float16, torch.bfloat16)
        form = "embedding_bag" if inference and (half or x.device.type == "cpu") else "grid_sample"
    return FORMS[form](x, offset, mask, weight)


class ModulatedDeformConv2d(nn.Module):
    """Deformable 3x3 convolution with given offsets and modulation; holds only its weight (O, C, 3, 3)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, KERNEL_SIZE, KERNEL_SIZE))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x: torch.Tensor, offset: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return modulated_deform_conv2d(x, offset, mask, self.weight)
