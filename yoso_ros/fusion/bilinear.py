# SPDX-License-Identifier: Apache-2.0
"""Tables for bilinear resizing tile by tile, equal to `torch.nn.functional.interpolate(align_corners=False)` on a CPU.

Legend, along one axis: `n` tiles of `T` output pixels; under a tile `M` input pixels and `L` mask cells (stride 4). `P`
(tile, proposal) pairs.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch

MASK_STRIDE = 4  # the mask logits are at a quarter of the padded network input (facts of the YOSO head)


@dataclass(frozen=True, slots=True)
class Taps:
    """The two source positions and weights of each destination position.

    Attributes:
        first, second: int64 (n, D), positions in the source.
        first_weight, second_weight: float32 (n, D).
    """

    first: torch.Tensor
    second: torch.Tensor
    first_weight: torch.Tensor
    second_weight: torch.Tensor

    def relative_to(self, start):
        """The same taps with positions counted from `start`, int64 (n, 1)."""
        return Taps(self.first - start, self.second - start, self.first_weight, self.second_weight)


@dataclass(frozen=True, slots=True)
class AxisPlan:
    """How the mask cells of one axis become the output pixels of each tile.

    Attributes:
        cells: int64 (n, L), the mask cells that the tile depends on; the last one repeats where a tile needs fewer.
        cell_taps: `Taps` (n, M), positions on the whole axis, from mask cells to input pixels.
        local_cell_taps: the same, positions within `cells`.
        pixel_taps: `Taps` (n, T), from the M input pixels to the output pixels; None where input and output size agree.
        valid: bool (n, T), false for pixels of the last tile that lie outside the output.
    """

    cells: torch.Tensor
    cell_taps: Taps
    local_cell_taps: Taps
    pixel_taps: Taps | None
    valid: torch.Tensor


def bilinear_taps(source, destination):
    """Source positions and weights of `F.interpolate(size=destination, mode="bilinear", align_corners=False)`.

    torch computes the source position in float32 with one fused multiply-add; float64 with one rounding is the same.
    Returns four arrays of length `destination`: first, second (int64), first_weight, second_weight (float32).
    """
    scale = float(np.float32(source) / np.float32(destination))
    position = (scale * (np.arange(destination) + 0.5) - 0.5).astype(np.float32)
    position = np.maximum(position, np.float32(0.0))
    first = np.minimum(position.astype(np.int64), source - 1)
    second_weight = np.clip(position - first.astype(np.float32), np.float32(0.0), np.float32(1.0))
    return first, np.minimum(first + 1, source - 1), np.float32(1.0) - second_weight, second_weight


@functools.lru_cache(maxsize=32)
def axis_plan(cells, input_size, output_size, tile):
    """`AxisPlan` of an axis with `cells` mask cells, cropped to `input_size` pixels and resized to `output_size`."""
    pixels = np.arange(-(-output_size // tile) * tile).reshape(-1, tile)
    valid = pixels < output_size
    pixels = np.minimum(pixels, output_size - 1)
    pixel_taps = None
    if output_size != input_size:
        taps = [table[pixels] for table in bilinear_taps(input_size, output_size)]
        start, count = taps[0][:, :1], int((taps[1][:, -1] - taps[0][:, 0]).max()) + 1
        pixel_taps = _as_taps(taps).relative_to(torch.from_numpy(start))
        pixels = np.minimum(start + np.arange(count), input_size - 1)
    taps = [table[pixels] for table in bilinear_taps(cells, MASK_STRIDE * cells)]
    start, count = taps[0][:, :1], int((taps[1][:, -1] - taps[0][:, 0]).max()) + 1
    cell_taps = _as_taps(taps)
    return AxisPlan(
        cells=torch.from_numpy(np.minimum(start + np.arange(count), cells - 1)),
        cell_taps=cell_taps,
        local_cell_taps=cell_taps.relative_to(torch.from_numpy(start)),
        pixel_taps=pixel_taps,
        valid=torch.from_numpy(valid),
    )


def _as_taps(tables):
    return Taps(*(torch.from_numpy(np.ascontiguousarray(table)) for table in tables))


def blend(first, first_weight, second, second_weight):
    """`first * first_weight + second * second_weight` with the rounding of torch's CPU kernel; overwrites `second`.

    The kernel rounds the second product and fuses the first into it; so does `addcmul`.
    """
    return second.mul_(second_weight).addcmul_(first, first_weight)


def upsample_tiles(mask_logits, kept, row, column, rows, columns):
    """Logits of the pairs at the output pixels of their tiles: float32 (T, P, T), rows first for long inner loops.

    Args:
        mask_logits: float32 (K, h, w), contiguous.
        kept, row, column: int64 (P,), the proposal and the row and column of the tile of each pair.
        rows, columns: `AxisPlan` of both axes.
    """
    _, height, width = mask_logits.shape
    # int32 halves the time of the look-up; a map of 2^31 logits would not fit in memory anyway.
    line = ((kept * height)[:, None] + rows.cells[row]).mul_(width).int().t().contiguous()[:, :, None]
    taps, logits = columns.cell_taps, mask_logits.view(-1)
    left, right = (
        logits.index_select(0, (line + positions.int()).view(-1)).view(len(line), *positions.shape)
        for positions in (taps.first[column], taps.second[column])
    )
    resized = blend(left, taps.first_weight[column], right, taps.second_weight[column])
    resized = _blend_rows(resized, rows.local_cell_taps, row)
    if columns.pixel_taps is not None:
        taps = columns.pixel_taps
        shape = (len(resized), len(kept), columns.valid.shape[1])
        left, right = (resized.gather(2, positions[column].expand(shape)) for positions in (taps.first, taps.second))
        resized = blend(left, taps.first_weight[column], right, taps.second_weight[column])
    return resized if rows.pixel_taps is None else _blend_rows(resized, rows.pixel_taps, row)


def _blend_rows(lines, taps, row):
    """Resize (L or M, P, ...) along the first axis by the taps of each pair's tile row."""
    pairs = torch.arange(len(row))
    above, below = (
        lines.flatten(0, 1)
        .index_select(0, (positions[row].t() * len(row) + pairs).flatten())
        .unflatten(0, (positions.shape[1], len(row)))
        for positions in (taps.first, taps.second)
    )
    return blend(above, taps.first_weight[row].t()[:, :, None], below, taps.second_weight[row].t()[:, :, None])
