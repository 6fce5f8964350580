# SPDX-License-Identifier: Apache-2.0
"""RoIAlign (Mask R-CNN, 3) in plain torch: maps cropped to boxes and resized to a fixed size.

Legend: `N` boxes x1 y1 x2 y2 in pixels, `D h w` map, `P` side of a crop.
"""

import torch
from torch.nn import functional


def roi_align(features: torch.Tensor, boxes: torch.Tensor, side: int, stride: int, samples: int = 1) -> torch.Tensor:
    """Crops of a map; differentiable in the map.

    The centre of map pixel k is at `stride` * (k + 0.5) pixels, as with torchvision's `aligned=True`. Within the map's
    outer half pixel and half a pixel around it the outermost values are used, further outside 0.

    Args:
        features: float (D, h, w). boxes: (N, 4), finite.
        side: `P`.
        stride: of the map, in pixels.
        samples: per crop pixel in each direction; the pixel gets their mean.

    Returns:
        (N, D, P, P).
    """
    depth, *size = features.shape
    if not len(boxes):
        return features.new_zeros((0, depth, side, side))
    boxes = boxes.to(features.dtype)
    steps = (torch.arange(side * samples, device=boxes.device, dtype=boxes.dtype) + 0.5) / (side * samples)
    x, y = (boxes[:, i, None] + steps * (boxes[:, i + 2, None] - boxes[:, i, None]) for i in (0, 1))
    y, x = (places / stride - 0.5 for places in (y, x))
    inside_y, inside_x = ((p >= -1) & (p <= length) for p, length in zip((y, x), size, strict=True))
    # In grid_sample's coordinates: from -1 at the left side of the first pixel to 1 at the right side of the last.
    y, x = ((2 * p + 1) / length - 1 for p, length in zip((y, x), size, strict=True))
    number, across = x.shape
    grid = torch.stack([x[:, None].expand(-1, across, -1), y[:, :, None].expand(-1, -1, across)], -1)
    crops = functional.grid_sample(
        features[None], grid.reshape(1, -1, across, 2), mode="bilinear", padding_mode="border", align_corners=False
    )
    crops = crops.view(depth, number, across, across).transpose(0, 1)
    crops = crops * (inside_y[:, :, None] & inside_x[:, None])[:, None]
    return crops if samples == 1 else functional.avg_pool2d(crops, samples)
