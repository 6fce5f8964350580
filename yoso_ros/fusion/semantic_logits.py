# SPDX-License-Identifier: Apache-2.0
"""Semantic map from a map of logits: the class with the largest bilinearly resized logit at every output pixel.

If the four map pixels around an output pixel share a class, so does the output pixel, whatever the weights; so only
cells on the borders between classes are resized. Legend: `C` classes, `h w` map, `H W` output.
"""

import torch
from torch.nn import functional

from yoso_ros.fusion.cells import Cells, positions

MOST_VALUES = 1 << 22  # logits held at a time
ROUNDING = 1e-5  # a resized value can exceed its largest corner by less than this fraction of the largest value


@torch.no_grad()
def semantic_map_of_logits(
    logits: torch.Tensor, stride: int, input_size: tuple[int, int], output_size: tuple[int, int]
) -> torch.Tensor:
    """The class of every output pixel.

    Args:
        logits: float (C, h, w), of the padded network input.
        stride: of the map, in pixels of the network input.
        input_size: (height, width) of the network input before padding. output_size: (H, W).

    Returns:
        uint8 (H, W); the first class if logits are equal.
    """
    logits = logits.float().nan_to_num(nan=torch.finfo(torch.float32).min)
    cells = Cells(logits.shape[1:], stride, input_size, output_size, logits.device)
    by_pixel = logits.flatten(1).T.contiguous()
    classes = first_best(by_pixel)
    rows, columns = (torch.arange(side + 1, device=logits.device) for side in logits.shape[1:])
    grid = [side.flatten() for side in torch.meshgrid(rows, columns, indexing="ij")]
    corners = torch.stack([classes[corner] for corner in cells.corners(*grid)])
    found = cells.fill(corners[0].view(len(rows), len(columns)).to(torch.uint8))
    mixed = positions((corners != corners[0]).any(0))
    result = found.flatten()
    for part in mixed.split(max(1, MOST_VALUES // (4 * len(logits)))):
        _classify(result, part, grid, by_pixel, classes, cells)
    return result.view(found.shape)


def first_best(by_pixel: torch.Tensor) -> torch.Tensor:
    """Class with the largest logit, the first if several are equal: contiguous float32 (P, C) -> int64 (P,)."""
    if by_pixel.device.type == "cpu":  # many times faster than torch's own
        return torch.from_numpy(by_pixel.numpy().argmax(1))
    return by_pixel.argmax(1)


def _classify(result, part, grid, by_pixel, classes, cells):
    """Write the classes of the output pixels of some cells into the flat `result`."""
    rows, columns = grid[0][part], grid[1][part]
    corners = torch.stack(cells.corners(rows, columns))
    possible = _possible_winners(by_pixel, classes, corners)
    count = possible.sum(1)
    order = count.argsort()  # cells with about equally many classes together
    ends = torch.searchsorted(count[order], 2 ** torch.arange(9, device=count.device), right=True).tolist()
    for start, end in zip([0, *ends], ends, strict=False):
        for chunk in order[start:end].split(max(1, MOST_VALUES // (4 * cells.places))) if start < end else ():
            members, class_ids = possible[chunk].nonzero(as_tuple=True)
            first = count[chunk].cumsum(0) - count[chunk]
            # The first class again where a cell has fewer than others: it cannot beat itself.
            candidates = class_ids[first].repeat(int(count[chunk].max()), 1)
            candidates[torch.arange(len(members), device=members.device) - first[members], members] = class_ids
            best, winner = None, None
            for class_ids in candidates:
                at_corners = [by_pixel[corner, class_ids] for corner in corners[:, chunk]]
                value = cells.interpolate(rows[chunk], columns[chunk], at_corners)
                class_ids = class_ids.to(torch.uint8)[:, None, None].expand(value.shape)
                winner = class_ids if best is None else torch.where(value > best, class_ids, winner)
                best = value if best is None else torch.maximum(best, value)
            inside = positions(~best.isnan())  # a cell may have fewer pixels than others
            result[cells.pixels(rows[chunk], columns[chunk]).flatten()[inside]] = winner.flatten()[inside]


def _possible_winners(by_pixel, classes, corners):
    """Which classes can win at an output pixel of each cell: bool (A, C).

    Resizing is a weighted mean, and the best class is everywhere at least as good as any mean of several classes. So a
    class cannot win in a cell where its largest corner is below the smallest corner of the mean of the classes that win
    at the corners.
    """
    values, winners = by_pixel[corners], classes[corners]
    weight = 1 / (winners[:, None] == winners).sum(1)  # each class once
    weight = (weight / weight.sum(0)).T
    mean = torch.stack([(by_pixel[corner[:, None], winners.T] * weight).sum(1) for corner in corners])
    slack = ROUNDING * values.abs().amax((0, 2))
    return values.amax(0) >= (mean.amin(0) - slack)[:, None]


@torch.no_grad()
def semantic_confidence(
    logits: torch.Tensor, stride: int, input_size: tuple[int, int], output_size: tuple[int, int]
) -> torch.Tensor:
    """The probability of each pixel's class: the maximum softmax of the map, resized bilinearly.

    Args:
        as in `semantic_map_of_logits`.

    Returns:
        float32 (H, W), 0..1; 0 where a logit is NaN.
    """
    logits = logits.float()
    best = (logits.amax(0) - logits.logsumexp(0)).exp().nan_to_num(nan=0.0)
    padded = [stride * side for side in best.shape]
    best = functional.interpolate(best[None, None], size=padded, mode="bilinear", align_corners=False)
    best = best[:, :, : input_size[0], : input_size[1]]
    if tuple(input_size) != tuple(output_size):
        best = functional.interpolate(best, size=tuple(output_size), mode="bilinear", align_corners=False)
    return best[0, 0]
