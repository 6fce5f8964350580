# SPDX-License-Identifier: Apache-2.0
"""Pasting masks from box crops back into the image: all instances at once, and only the pixels of their boxes.

Legend: `N` instances, `P` side of a crop, `E` pixels of all boxes, `H W` output; boxes are x1 y1 x2 y2 in pixels of the
network input.
"""

from collections.abc import Iterator

import torch

from yoso_ros.fusion.panoptic_from_detections import MaskPixels

MOST_PIXELS = 1 << 21  # pixels resized at a time; bounds the memory


def pasted_pixels(
    probabilities: torch.Tensor,
    boxes: torch.Tensor,
    input_size: tuple[int, int],
    output_size: tuple[int, int],
    threshold: float = 0.5,
) -> Iterator[MaskPixels]:
    """The pixels whose bilinearly resized probability reaches a threshold, inside the boxes.

    Args:
        probabilities: float32 (N, P, P). boxes: float32 (N, 4).
        input_size: (height, width) of the network input before padding. output_size: (H, W).

    Yields:
        `MaskPixels`, a bounded number at a time.
    """
    height, width = output_size
    scale = boxes.new_tensor([width / input_size[1], height / input_size[0]]).repeat(2)
    boxes = boxes * scale
    # A pixel belongs to a box if its centre does.
    limits = torch.tensor([width, height], device=boxes.device)
    first = torch.minimum((boxes[:, :2] - 0.5).ceil().clamp(min=0).long(), limits)
    last = torch.minimum((boxes[:, 2:] - 0.5).ceil().clamp(min=0).long(), limits)
    sides = (last - first).clamp(min=0)
    areas = sides.prod(1)
    ends = areas.cumsum(0)
    starts = ends - areas
    total = int(ends[-1]) if len(ends) else 0
    for start in range(0, total, MOST_PIXELS):
        flat = torch.arange(start, min(start + MOST_PIXELS, total), device=boxes.device)
        owners = torch.searchsorted(ends, flat, right=True)
        place = flat - starts[owners]
        rows, columns = place // sides[owners, 0], place % sides[owners, 0]
        x, y = columns + first[owners, 0], rows + first[owners, 1]
        values = _bilinear(probabilities, owners, x, y, boxes)
        hit = (values >= threshold).nonzero()[:, 0]
        yield MaskPixels(owners[hit].int(), (y[hit] * width + x[hit]).int(), values[hit])


def _bilinear(maps, owners, x, y, boxes):
    """Values of the crops at output pixels: maps (N, P, P), owners, x, y int64 (E,), boxes (N, 4) -> (E,)."""
    side = maps.shape[-1]
    corners = []
    for places, axis in ((y, 1), (x, 0)):
        low, high = boxes[owners, axis], boxes[owners, axis + 2]
        position = ((places + 0.5 - low) / (high - low) * side - 0.5).clamp(0, side - 1)
        before = position.long().clamp(max=side - 2)
        corners.append((before, position - before))
    (row, down), (column, right) = corners
    flat, at = maps.flatten(), (owners * side + row) * side + column
    top = flat[at] * (1 - right) + flat[at + 1] * right
    bottom = flat[at + side] * (1 - right) + flat[at + side + 1] * right
    return top * (1 - down) + bottom * down
