# SPDX-License-Identifier: Apache-2.0
"""The conventional fusion of instances and semantics (Panoptic Segmentation, CVPR 2019), for every detector.

Legend: `N` instances, best first; `E` mask pixels; `C` classes; `H W` output.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch

from yoso_ros.fusion.merged import MergedSegment, MergedSegments


class MaskPixels(NamedTuple):
    """The pixels of the masks of N instances, each at most once, in any order."""

    instances: torch.Tensor  # int32 (E,), 0..N-1
    pixels: torch.Tensor  # int32 (E,), flat positions in the output
    values: torch.Tensor  # float32 (E,), mask probabilities


def joined_pixels(parts: Iterable[MaskPixels], device: torch.device | str | None = None) -> MaskPixels:
    """Concatenate any number of `MaskPixels`, including none."""
    none = torch.zeros(0, dtype=torch.int32, device=device)
    parts = [MaskPixels(none, none, none.float()), *parts]
    return MaskPixels(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


def stacked_masks(
    parts: Iterable[MaskPixels], count: int, output_size: tuple[int, int], device: torch.device
) -> torch.Tensor:
    """The masks of any number of `MaskPixels` of `count` instances: bool (N, H, W)."""
    height, width = output_size
    masks = _zeros(count * height * width, device)
    for part in parts:
        masks[part.instances.long() * (height * width) + part.pixels] = True
    return masks.view(count, height, width)


def _zeros(size, device):
    if device.type == "cpu":  # from numpy, which allocates pages only when they are written
        return torch.from_numpy(np.zeros(size, bool))
    return torch.zeros(size, dtype=torch.bool, device=device)


@torch.no_grad()
def fuse_detections(
    masks: Any,
    scores: torch.Tensor,
    class_ids: torch.Tensor,
    semantic_map: torch.Tensor,
    semantic_confidence: torch.Tensor,
    config: Any,
) -> MergedSegments:
    """Paint instances first, by score; stuff fills the remaining pixels.

    Starting with the best instance, each gets the pixels of its mask that are still free; one that would get less than
    `overlap_threshold` of its mask is dropped. Free pixels become the stuff given by the semantic map if that class
    gets at least `stuff_area_limit` pixels; where the map has a thing, they stay void.

    Args:
        masks: `MaskPixels` of the instances.
        scores: float32 (N,), descending. class_ids: int64 (N,).
        semantic_map: uint8 (H, W), class ids.
        semantic_confidence: float32 (H, W), probability of that class.
        config: has `score_threshold`, `overlap_threshold`, `stuff_area_limit`, `label_set`.

    Returns:
        `MergedSegments`: instances in the order of their score, then stuff by class. The score of stuff is its mean
        probability.
    """
    size, device = semantic_map.shape, semantic_map.device
    kept = scores >= config.score_threshold
    segment_map = torch.zeros(semantic_map.numel(), dtype=torch.int32, device=device)
    confidence = torch.zeros(semantic_map.numel(), dtype=torch.uint8, device=device)
    painted = _without_overlap(masks, kept, segment_map.numel(), config.overlap_threshold)
    area = torch.bincount(masks.instances[painted], minlength=len(scores))
    ids = torch.where(area > 0, (area > 0).cumsum(0), 0).int()
    pixels, instances = masks.pixels[painted], masks.instances[painted]
    segment_map[pixels] = ids[instances]
    confidence[pixels] = _confidence(scores.float()[instances] * masks.values[painted])
    things = frozenset(config.label_set.thing_ids)
    segments = []
    # The only copy to the host: a few numbers per instance.
    numbers = torch.stack([ids.double(), class_ids.double(), scores.double(), area.double()]).cpu()
    for number, class_id, score, pixels in numbers.T.tolist():
        if number:
            segments.append(MergedSegment(int(number), int(class_id), int(class_id) in things, score, int(pixels)))
    _add_stuff(segment_map, confidence, segments, semantic_map.flatten(), semantic_confidence.flatten(), config)
    return MergedSegments(segment_map.view(size), segments, confidence.view(size))


def _without_overlap(masks, kept, pixels, overlap_threshold):
    """Which mask pixels are painted: bool (E,).

    An instance loses pixels only to better ones, so iterating "which are dropped, given the kept ones" settles them
    from the best on; it converges after two or three iterations. Only pixels covered by several masks take part.
    """
    instances, number = masks.instances, len(kept)
    entries = kept[instances]
    covered = torch.bincount(masks.pixels[entries], minlength=pixels)
    shared = entries & (covered[masks.pixels] > 1)
    places, place = masks.pixels[shared].unique(return_inverse=True)
    owners = instances[shared].long()
    area = torch.bincount(instances[entries], minlength=number)
    alone = torch.bincount(instances[entries & ~shared], minlength=number)
    present = kept & (area > 0)
    while True:
        first = torch.full((len(places),), number, device=place.device)
        first = first.scatter_reduce(0, place, torch.where(present[owners], owners, number), "amin")
        free = alone + torch.bincount(owners[first[place] >= owners], minlength=number)
        stays = kept & (free > 0) & (free.double() / area.clamp(min=1).double() >= overlap_threshold)
        if torch.equal(stays, present):
            break
        present = stays
    painted = entries & present[instances]
    painted[shared] &= first[place] == owners
    return painted


def _add_stuff(segment_map, confidence, segments, semantic_map, semantic_confidence, config):
    """Paint stuff on free pixels; changes the (flat) maps and the list."""
    device = semantic_map.device
    classes = len(config.label_set)
    is_thing = torch.zeros(classes, dtype=torch.bool, device=device)
    is_thing[list(config.label_set.thing_ids)] = True
    semantic = semantic_map.int()
    stuff = (segment_map == 0) & ~is_thing[semantic]
    found = semantic[stuff]
    area = torch.bincount(found, minlength=classes)
    total = torch.bincount(found, semantic_confidence[stuff].double(), minlength=classes)
    enough = (area > 0) & (area >= config.stuff_area_limit)
    ids = torch.where(enough, len(segments) + enough.cumsum(0), 0).int()
    segment_map += torch.where(stuff, ids[semantic], 0)
    confidence += torch.where(stuff & enough[semantic], _confidence(semantic_confidence), 0)
    for class_id in enough.nonzero()[:, 0].tolist():
        pixels, mean = int(area[class_id]), float(total[class_id] / area[class_id])
        segments.append(MergedSegment(int(ids[class_id]), class_id, False, mean, pixels))


def _confidence(probability):
    return (255.0 * probability).round().clamp(1.0, 255.0).to(torch.uint8)
