# SPDX-License-Identifier: Apache-2.0
"""Targets of dense detection from labels and masks (RealTimePan, section 4.1), on the same device.

Legend: `M` segments of an image, `K` things among them, `H W` padded image, `L` locations; boxes x1 y1 x2 y2 in pixels,
x2 and y2 one past the last pixel, so that every pixel of a mask lies inside its box.
"""

from typing import NamedTuple

import torch

from yoso_ros.models.fcos import LEVEL_LIMITS, grid_locations

UNLABELLED = 255  # no segment covers the pixel


class ImageTargets(NamedTuple):
    """Targets of one image, from which those of any location can be computed."""

    classes: torch.Tensor  # int64 (K,), index of each thing's class among the thing classes
    boxes: torch.Tensor  # float32 (K, 4)
    instance_map: torch.Tensor  # int64 (H, W), 0..K-1 of the thing that covers the pixel, -1 for none
    semantic_map: torch.Tensor  # int64 (H, W), class ids, UNLABELLED


class LocationTargets(NamedTuple):
    """Targets of a set of locations of an image."""

    instances: torch.Tensor  # int64 (L,), the thing that a location belongs to, -1 for none
    offsets: torch.Tensor  # float32 (L, 4), left, top, right, bottom of its box (Eq. 8); undefined if there is none
    levels: torch.Tensor  # int64 (L,), 0..4 for P3..P7 by Eq. 9, -1 for none


def image_targets(target, thing_ids):
    """`ImageTargets` of a `Target`; things without any pixel are ignored."""
    labels, masks = target.labels, target.masks.bool()
    positions = torch.full((256,), -1, dtype=torch.int64, device=labels.device)
    positions[list(thing_ids)] = torch.arange(len(thing_ids), device=labels.device)
    rows, columns = masks.any(2), masks.any(1)
    things = (positions[labels] >= 0) & rows.any(1)
    classes = positions[labels[things]]
    boxes = torch.stack([*_extent(columns[things]), *_extent(rows[things])], 1)[:, [0, 2, 1, 3]].float()
    covering = _first_covering(masks)
    # An extra entry at the end, which index -1 selects: no segment.
    semantic = torch.cat([labels, labels.new_tensor([UNLABELLED])])
    instances = torch.where(things, things.cumsum(0) - 1, -1)
    return ImageTargets(
        classes, boxes, torch.cat([instances, instances.new_tensor([-1])])[covering], semantic[covering]
    )


def _extent(marks):
    """First marked position and one past the last: bool (K, side) -> two int64 (K,)."""
    marks = marks.int()
    return marks.argmax(1), marks.shape[1] - marks.flip(1).argmax(1)


def _first_covering(masks):
    """Index of the first mask that covers each pixel, -1 for none: bool (M, H, W) -> int64 (H, W)."""
    if not len(masks):
        return torch.full(masks.shape[1:], -1, dtype=torch.int64, device=masks.device)
    rank = torch.arange(len(masks), 0, -1, dtype=torch.int16, device=masks.device)  # the first is the greatest
    best = (masks * rank[:, None, None]).amax(0).long()
    return torch.where(best > 0, len(masks) - best, -1)


def location_targets(image, size, stride, supervision):
    """Compute the targets at the locations of a map.

    A location on the boundary between two levels belongs to the finer one, so that each has exactly one level.

    Args:
        image: `ImageTargets`.
        size: (h, w) of the map, whose locations may lie outside the image.
        stride: of the map.
        supervision: "masks": a location belongs to the thing whose mask covers it. "boxes" (section 5.6): to the
            smallest box around it.

    Returns:
        `LocationTargets`, L = h w.
    """
    points = grid_locations(*size, stride, image.boxes.device)
    if not len(image.boxes):
        none = torch.full((len(points),), -1, dtype=torch.int64, device=points.device)
        return LocationTargets(none, points.new_zeros((len(points), 4)), none)
    if supervision == "masks":
        instances = at_locations(image.instance_map, size, stride, -1)
    else:
        instances = _smallest_box(points, image.boxes)
    offsets = _offsets(points, image.boxes[instances.clamp(min=0)])
    limits = torch.tensor(LEVEL_LIMITS[1:-1], device=points.device)
    levels = torch.bucketize(offsets.amax(1), limits)
    return LocationTargets(instances, offsets, torch.where(instances >= 0, levels, -1))


def at_locations(image_map, size, stride, outside):
    """Values of a map (H, W) at the locations of a coarser one (h, w): (h w,); `outside` for those beyond the map."""
    height, width = image_map.shape
    x, y = grid_locations(*size, stride, image_map.device).long().unbind(1)
    values = image_map[y.clamp(max=height - 1), x.clamp(max=width - 1)]
    return torch.where((x < width) & (y < height), values, outside)


def _offsets(points, boxes):
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], -1)


def _smallest_box(points, boxes):
    inside = _offsets(points[:, None], boxes[None]).amin(-1) > 0
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    smallest, index = torch.where(inside, area, torch.inf).min(1)
    return torch.where(smallest.isfinite(), index, -1)


def centerness(offsets):
    """Eq. 10 for non-negative offsets (L, 4): (L,); 0 on a side of the box."""
    left, top, right, bottom = offsets.unbind(-1)
    product = torch.minimum(left, right) * torch.minimum(top, bottom)
    return (product / (torch.maximum(left, right) * torch.maximum(top, bottom)).clamp(min=1e-7)).sqrt()
