# SPDX-License-Identifier: Apache-2.0
"""Semantic map from a map of logits: the class with the largest bilinearly resized logit at every output pixel.

If the four map pixels around an output pixel share a class, so does the output pixel, whatever the weights; so only
cells on the borders between classes are resized. Legend: `C` classes, `h w` map, `H W` output.
"""

import torch
from torch.nn import functional

from yoso_ros.fusion.cells import Cells

MOST_VALUES = 1 << 22  # resized logits held at a time


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
    logits = logits.float()
    cells = Cells(logits.shape[1:], stride, input_size, output_size, logits.device)
    flat = logits.flatten(1)
    classes = flat.argmax(0)
    rows, columns = (torch.arange(side + 1, device=logits.device) for side in logits.shape[1:])
    grid = [side.flatten() for side in torch.meshgrid(rows, columns, indexing="ij")]
    corners = torch.stack([classes[corner] for corner in cells.corners(*grid)])
    found = cells.fill(corners[0].view(len(rows), len(columns)).to(torch.uint8))
    mixed = (corners != corners[0]).any(0).nonzero()[:, 0]
    by_pixel, result = flat.T.contiguous(), found.flatten()
    for part in mixed.split(max(1, MOST_VALUES // (len(logits) * cells.places))):
        rows, columns = grid[0][part], grid[1][part]
        values = cells.interpolate(rows, columns, [by_pixel[corner] for corner in cells.corners(rows, columns)])
        inside = ~values[..., 0].isnan()
        result[cells.pixels(rows, columns)[inside]] = values.argmax(-1)[inside].to(torch.uint8)
    return result.view(found.shape)


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
