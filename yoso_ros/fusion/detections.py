# SPDX-License-Identifier: Apache-2.0
"""From dense boxes to the few that are kept: candidates from each level, non-maximum suppression, the best overall.

Plain torch, so that it runs wherever torch does. Legend: `L` locations of all levels, `T` thing classes, `N` boxes;
boxes are float32 x1 y1 x2 y2 in pixels (areas exceed the largest half-precision number).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

SUPPRESSION_BLOCK = 256  # candidates compared with the kept boxes at a time; bounds the memory


class Detections(NamedTuple):
    """Boxes with scores and classes."""

    boxes: torch.Tensor  # float32 (N, 4)
    scores: torch.Tensor  # float32 (N,)
    classes: torch.Tensor  # int64 (N,), 0..T-1
    locations: torch.Tensor  # int64 (N,), 0..L-1, where the box comes from

    def select(self, index: torch.Tensor) -> Detections:
        """The detections at an index or where a boolean mask is true."""
        return Detections(*(field[index] for field in self))


def pairwise_iou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Intersection over union of boxes (N, 4) and (M, 4): (N, M); NaN (0/0) for two boxes without area."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    intersection = (high - low).clamp_(min=0).prod(-1)
    area_a, area_b = ((x[:, 2] - x[:, 0]) * (x[:, 3] - x[:, 1]) for x in (a, b))
    return intersection / (area_a[:, None] + area_b[None] - intersection)


def non_maximum_suppression(
    boxes: torch.Tensor, scores: torch.Tensor, threshold: float, groups: torch.Tensor | None = None
) -> torch.Tensor:
    """Greedy non-maximum suppression: in order of score, drop a box whose IoU with a kept one exceeds the threshold.

    Boxes of equal score are taken in input order. There is no loop over boxes: within a block the greedy solution is
    the only fixed point of "a box is kept if no better kept one suppresses it", found by iterating that rule.

    Args:
        boxes: float32 (N, 4). scores: (N,).
        threshold: IoU.
        groups: int (N,), only boxes of the same group suppress each other (class-wise); None: all (class-agnostic).

    Returns:
        int64 indices of the kept boxes, best score first.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes[order]
    groups = None if groups is None else groups[order]
    kept = order.new_empty(0)
    for block in torch.arange(len(order), device=order.device).split(SUPPRESSION_BLOCK):
        free = ~_suppressors(boxes, groups, kept, block, threshold).any(0)
        block = block[free]
        rivals = _suppressors(boxes, groups, block, block, threshold).triu_(1)
        alive = torch.ones(len(block), dtype=torch.bool, device=order.device)
        while True:
            after = ~(rivals & alive[:, None]).any(0)
            if torch.equal(after, alive):
                break
            alive = after
        kept = torch.cat([kept, block[alive]])
    return order[kept]


def _suppressors(boxes, groups, first, second, threshold):
    over = pairwise_iou(boxes[first], boxes[second]) > threshold
    return over if groups is None else over & (groups[first][:, None] == groups[second][None])


def best_of(scores: torch.Tensor, limit: int) -> torch.Tensor:
    """Indices of the `limit` highest scores, best first; ties in input order (stable)."""
    return scores.argsort(descending=True, stable=True)[:limit]


def best_with_ties(scores: torch.Tensor, limit: int) -> torch.Tensor:
    """Bool (N,): the `limit` highest scores and all ties with the last of them, so there can be more."""
    if len(scores) <= limit:
        return torch.ones_like(scores, dtype=torch.bool)
    return scores >= scores.topk(limit).values[-1]


def find_candidates(
    class_scores: torch.Tensor,
    centerness: torch.Tensor,
    boxes: torch.Tensor,
    level_sizes: list[int] | tuple[int, int],
    *,
    threshold: float,
    limit: int,
    threshold_on: str = "class",
    root: bool = False,
) -> Detections:
    """Candidate pairs of location and class: from each level the best `limit` above a threshold.

    RealTimePan compares the class probability alone with the threshold and scores with class times centerness.
    BlendMask compares that product (`threshold_on="product"`) and scores with its square root (`root=True`).

    Args:
        class_scores: float32 (L, T), probabilities. centerness: float32 (L,), probabilities.
        boxes: float32 (L, 4); non-finite ones are ignored.
        level_sizes: number of locations of each level, in order.
        threshold: a score must be strictly greater.
        limit: per level.

    Returns:
        `Detections`, level by level, each best first.
    """
    products = class_scores * centerness[:, None]
    above = (class_scores if threshold_on == "class" else products) > threshold
    above &= (boxes.isfinite().all(1) & centerness.isfinite())[:, None]
    scores = products.sqrt() if root else products
    found, start = [], 0
    for size in level_sizes:
        locations, classes = above[start : start + size].nonzero(as_tuple=True)
        locations = locations + start
        level_scores = scores[locations, classes]
        best = best_of(level_scores, limit)
        locations, classes = locations[best], classes[best]
        found.append(Detections(boxes[locations], level_scores[best], classes, locations))
        start += size
    return Detections(*(torch.cat(fields) for fields in zip(*found, strict=True)))


def clip_boxes(boxes: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Clip boxes (N, 4) to the pixels 0..width-1 and 0..height-1 of an image of (height, width)."""
    height, width = size
    limits = boxes.new_tensor([width - 1, height - 1, width - 1, height - 1])
    return torch.minimum(boxes.clamp(min=0), limits)


def level_map_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """(h, w) of the maps P3..P7 for a network input of (height, width): each half of the previous one, rounded up."""
    return [(-(-height // stride), -(-width // stride)) for stride in (8, 16, 32, 64, 128)]
