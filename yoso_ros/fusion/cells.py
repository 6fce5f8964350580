# SPDX-License-Identifier: Apache-2.0
"""Bilinear resizing of a coarse map only where it matters, by cells: the squares between four map pixels.

All output pixels of a cell lie between the same four map pixels, so a cell whose corners agree needs no resizing.
Legend: `h w` map, `H W` output, `A` cells, `R Q` maximum output rows and columns of a cell.
"""

from collections.abc import Sequence

import numpy as np
import torch


def positions(mask: torch.Tensor) -> torch.Tensor:
    """Flat positions of the true elements of a boolean tensor, ascending: int64 (K,)."""
    if mask.device.type == "cpu":  # many times faster than torch's own
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.flatten().nonzero()[:, 0]


class Cells:
    """The cells of a map (h, w) and the output pixels that fall into each.

    There are (h + 1) x (w + 1) cells; cell (i, j) lies between the map rows i - 1 and i and the columns j - 1 and j. At
    the border both are the same: pixels outside the outermost centres take their value, as in bilinear resizing.

    Args:
        map_size: (h, w).
        stride: of the map, in pixels of the network input.
        input_size: (height, width) of the network input before padding at the right and bottom.
        output_size: (H, W) of the output, which shows the unpadded input.
        device: of the tensors.
    """

    def __init__(
        self,
        map_size: Sequence[int],
        stride: int,
        input_size: tuple[int, int],
        output_size: tuple[int, int],
        device: torch.device | str | None = None,
    ):
        self.map_size, self.output_size = tuple(map_size), tuple(output_size)
        axes = zip(map_size, input_size, output_size, strict=True)
        self._rows, self._columns = (_Axis(*axis, stride, device) for axis in axes)
        down, right = (torch.arange(axis.most, device=device) for axis in (self._rows, self._columns))
        self._steps = down[:, None] * output_size[1] + right

    def around(
        self, members: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, count: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Cells that have one of the given map pixels as a corner, each once.

        Args:
            members: int64 (K,), 0..count-1, which of `count` maps each pixel belongs to. rows, columns: int64 (K,).

        Returns:
            members, rows, columns of the cells, int64 (A,), sorted.
        """
        height, width = self.map_size[0] + 1, self.map_size[1] + 1
        marks = torch.zeros(count * height * width, dtype=torch.bool, device=rows.device)
        first = (members * height + rows) * width + columns
        for step in (0, 1, width, width + 1):
            marks[first + step] = True
        found = positions(marks)
        members = found // (height * width)
        rows = found // width
        return members, rows - members * height, found - rows * width

    def corners(self, rows: torch.Tensor, columns: torch.Tensor) -> list[torch.Tensor]:
        """Flat map positions of the four corners of cells: int64 (A,) and (A,) -> list of four (A,), row by row."""
        height, width = self.map_size
        above, below = (rows - 1).clamp_(min=0) * width, rows.clamp(max=height - 1) * width
        left, right = (columns - 1).clamp_(min=0), columns.clamp(max=width - 1)
        return [above + left, above + right, below + left, below + right]

    def interpolate(self, rows: torch.Tensor, columns: torch.Tensor, corner_values: list[torch.Tensor]) -> torch.Tensor:
        """Values at the output pixels of cells.

        Args:
            rows, columns: int64 (A,) of the cells.
            corner_values: four float32 (A,) or (A, C), in the order of `corners`.

        Returns:
            float32 (A, R, Q) or (A, R, Q, C); NaN where a cell has fewer than R x Q output pixels.
        """
        right, below = self._columns.weight[columns][:, None], self._rows.weight[rows][:, :, None]
        if corner_values[0].ndim == 2:
            right, below = right[..., None], below[..., None]
        a, b, c, d = (value[:, None, None] for value in corner_values)
        left = 1 - right
        top, bottom = a * left + b * right, c * left + d * right
        return top * (1 - below) + bottom * below

    def pixels(self, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Flat output positions of the R x Q places of cells: int64 (A, R, Q), undefined where there is none."""
        width = self.output_size[1]
        return self._rows.first[rows][:, None, None] * width + self._columns.first[columns][:, None, None] + self._steps

    @property
    def places(self) -> int:
        """R x Q."""
        return self._steps.numel()

    def fill(self, values: torch.Tensor) -> torch.Tensor:
        """Give every output pixel the value of its cell: (h + 1, w + 1) -> (H, W)."""
        return values[self._rows.cell][:, self._columns.cell]


class _Axis:
    """Rows or columns: the `cell` of each output pixel, the `first` pixel of each cell, `weight` of the far corner."""

    def __init__(self, map_side, input_side, output_side, stride, device):
        place = torch.arange(output_side, dtype=torch.float64, device=device) + 0.5
        place = place * (input_side / output_side) / stride - 0.5
        # Pixels beyond the last centre of the map, also because of rounding, belong to the last cell.
        near = place.floor().clamp_(-1, map_side - 1)
        self.cell = near.long() + 1
        bounds = torch.searchsorted(self.cell, torch.arange(map_side + 2, device=device))
        self.first = bounds[:-1]
        count = bounds.diff()
        self.most = max(int(count.max()), 1)
        steps = torch.arange(self.most, device=device)
        pixels = (self.first[:, None] + steps).clamp_(max=output_side - 1)
        # NaN where a cell has fewer pixels than others, so that every comparison fails.
        self.weight = torch.where(steps < count[:, None], (place - near).float()[pixels], torch.nan)
