# SPDX-License-Identifier: Apache-2.0
"""Bilinear resizing tile by tile, equal to `torch.nn.functional.interpolate(align_corners=False)` on a CPU.

Legend, along one axis: `n` tiles of `T` output pixels; under a tile a block of `L` mask cells (stride 4) that become
`M = 4 (L - 2)` input pixels. `P` (tile, proposal) pairs; an index such as `Mx` belongs to the columns.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

MASK_STRIDE = 4  # the mask logits are at a quarter of the padded network input (YOSO, section 3.2)
# An input pixel lies between two cells: the first two of a cell's four pixels between it and the previous cell, the
# other two between it and the next. Away from the border the weights are the same for all cells, and exact in float32.
_PHASES = ((0, torch.tensor([0.625, 0.875])), (1, torch.tensor([0.125, 0.375])))  # cell that is first, second weights


class Taps(NamedTuple):
    """The two source positions and weights of each destination position.

    Attributes:
        first, second: int64 (n, T), positions in the source.
        first_weight, second_weight: float32 (n, T).
    """

    first: torch.Tensor
    second: torch.Tensor
    first_weight: torch.Tensor
    second_weight: torch.Tensor


@dataclass(frozen=True, slots=True)
class AxisPlan:
    """How the mask cells of one axis become the output pixels of each tile.

    Attributes:
        reach: int64 (n, R), the mask cells that the tile depends on; the last one is repeated if a tile needs fewer.
        block: int32 (L, n), mask cells of the input pixels and one more on either side, repeated at borders.
        at_start: bool (n,), the block begins at the border, before cell 0.
        pixel_taps: `Taps` (n, T), from the M input pixels to the output pixels; None if input and output size agree.
        valid: bool (n, T), false for pixels of the last tile outside the output.
    """

    reach: torch.Tensor
    block: torch.Tensor
    at_start: torch.Tensor
    pixel_taps: Taps | None
    valid: torch.Tensor


def bilinear_taps(source: int, destination: int) -> tuple[np.ndarray, ...]:
    """Source positions and weights of `F.interpolate(size=destination, mode="bilinear", align_corners=False)`.

    torch computes the source position in float32 with a fused multiply-add; float64 rounded once gives the same.
    Returns four arrays of length `destination`: first, second (int64), first_weight, second_weight (float32).
    """
    scale = float(np.float32(source) / np.float32(destination))
    position = (scale * (np.arange(destination) + 0.5) - 0.5).astype(np.float32)
    position = np.maximum(position, np.float32(0.0))
    first = np.minimum(position.astype(np.int64), source - 1)
    second_weight = np.clip(position - first.astype(np.float32), np.float32(0.0), np.float32(1.0))
    return first, np.minimum(first + 1, source - 1), np.float32(1.0) - second_weight, second_weight


@functools.lru_cache(maxsize=32)
def axis_plan(cells: int, input_size: int, output_size: int, tile: int) -> AxisPlan:
    """`AxisPlan` of an axis with `cells` mask cells, cropped to `input_size` pixels and resized to `output_size`.

    `tile` is a multiple of 4 output pixels.
    """
    pixels = np.arange(-(-output_size // tile) * tile).reshape(-1, tile)
    valid = pixels < output_size
    taps: Any = None
    if output_size != input_size:
        taps = [table[np.minimum(pixels, output_size - 1)] for table in bilinear_taps(input_size, output_size)]
    # The first and the last input pixel that the valid pixels of a tile depend on.
    begin, end = pixels[:, 0], np.minimum(pixels[:, -1], output_size - 1)
    if taps is not None:
        begin, end = taps[0][:, 0], taps[1][:, -1]
    first, second, *_ = bilinear_taps(cells, MASK_STRIDE * cells)
    first, last = first[begin], second[end]
    start = begin // MASK_STRIDE
    middle = tile // MASK_STRIDE if taps is None else int((end // MASK_STRIDE - start).max()) + 1
    if taps is not None:
        taps = Taps(
            *(torch.from_numpy(position - MASK_STRIDE * start[:, None]) for position in taps[:2]),
            *map(torch.from_numpy, taps[2:]),
        )
    block = start - 1 + np.arange(middle + 2)[:, None]
    return AxisPlan(
        reach=torch.from_numpy(np.minimum(first[:, None] + np.arange((last - first).max() + 1), last[:, None])),
        block=torch.from_numpy(block.clip(0, cells - 1).astype(np.int32)),
        at_start=torch.from_numpy(start == 0),
        pixel_taps=taps,
        valid=torch.from_numpy(valid),
    )


def blend(
    first: torch.Tensor,
    first_weight: torch.Tensor,
    second: torch.Tensor,
    second_weight: torch.Tensor,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """`first * first_weight + second * second_weight` with the rounding of torch's CPU kernel.

    The kernel rounds the second product and fuses the first into it; so does `addcmul`.
    """
    return torch.mul(second, second_weight, out=out).addcmul_(first, first_weight)


def upsample_tiles(
    mask_logits: torch.Tensor,
    kept: torch.Tensor,
    row: torch.Tensor,
    column: torch.Tensor,
    rows: AxisPlan,
    columns: AxisPlan,
) -> torch.Tensor:
    """Logits of the pairs at the output pixels of their tiles: float32 (T, P, T), rows first for long inner loops.

    Args:
        mask_logits: float32 (N, h, w), contiguous.
        kept, row, column: int64 (P,), the proposal and the row and column of the tile of each pair.
        rows, columns: `AxisPlan` of both axes.
    """
    _, height, width = mask_logits.shape
    # int32 halves the time of the look-up; a map of 2^31 logits would not fit in memory anyway.
    lines = rows.block.index_select(1, row).add_((kept * height).int()).mul_(width)
    cells = columns.block.index_select(1, column)[:, None] + lines
    # Columns outermost, then rows: the four pixels of a cell are then slices, the same for all pairs.
    logits = mask_logits.view(-1).index_select(0, cells.view(-1)).view(cells.shape)
    logits = _quadruple(logits, columns.at_start[column], 2)
    logits = _transpose(logits.flatten(1)).view(len(lines), len(kept), -1)
    logits = _quadruple(logits, rows.at_start[row], 1)
    # The taps of a second resize differ between tiles. Whole lines are looked up, hence the transposition.
    pair = torch.arange(len(kept))
    if columns.pixel_taps is not None:
        first, second, *weights = (table[column].flatten() for table in columns.pixel_taps)
        line = (pair * logits.shape[2]).repeat_interleave(columns.valid.shape[1])
        lines = _resize_lines(_transpose(logits.flatten(1)), line + first, line + second, *weights)
        logits = _transpose(lines).view(len(logits), len(kept), -1)
    if rows.pixel_taps is not None:
        first, second, *weights = (table[row].t().flatten() for table in rows.pixel_taps)
        line = pair.repeat(rows.valid.shape[1])
        first, second = (positions * len(kept) + line for positions in (first, second))
        lines = _resize_lines(logits.flatten(0, 1), first, second, *weights)
        logits = lines.view(-1, len(kept), logits.shape[2])
    return logits


def _quadruple(cells, at_start, pair_axis):
    """Resize (L, ...) mask cells to (M, ...) input pixels along the first axis.

    Args:
        cells: float32, three axes, contiguous. at_start: bool (P,), pairs whose first cell is a copy of the second.
        pair_axis: 1 or 2.
    """
    count = len(cells) - 2
    pixels = torch.empty((count, MASK_STRIDE, *cells.shape[1:]))
    for phase, (first, second_weight) in enumerate(_PHASES):
        second_weight = second_weight.view(2, 1, 1)
        blend(
            cells[first : first + count, None],
            1.0 - second_weight,
            cells[first + 1 : first + 1 + count, None],
            second_weight,
            out=pixels[:, 2 * phase : 2 * phase + 2],
        )
    # There torch takes the first cell with full weight, not the mean of two equal values, which would be rounded.
    pairs = at_start.nonzero()[:, 0]
    if len(pairs):
        first, second = (cells[cell].index_select(pair_axis - 1, pairs) for cell in (1, 2))
        pixels[0, :2].index_copy_(pair_axis, pairs, (first + second * 0.0).expand(2, *first.shape))
    return pixels.flatten(0, 1)


def _resize_lines(lines, first, second, first_weight, second_weight):
    """Lines (S, length) at the positions of taps, (D,) each: float32 (D, length)."""
    first, second = lines.index_select(0, first), lines.index_select(0, second)
    return blend(first, first_weight[:, None], second, second_weight[:, None], out=second)


def _transpose(matrix):
    return torch.from_numpy(np.ascontiguousarray(matrix.numpy().T))  # half the time of torch's
