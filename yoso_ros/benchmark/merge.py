# SPDX-License-Identifier: Apache-2.0
"""Time of the panoptic merge and of the literal one, interleaved, on rendered proposals.

Legend: `N` proposals, `C` classes; `h w` stride-4 map of the padded input; `H W` sizes in pixels.
"""

import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch

from yoso_ros.benchmark.literal_merge import literal_merge
from yoso_ros.fusion import merge_mask_classification

PROPOSALS = 100  # of the released models for COCO, Cityscapes and ADE20K
SIZE_DIVISOR = 32  # the network input is padded to a multiple of this


@dataclass(frozen=True, slots=True)
class MergeTimes:
    """Times of one case in ms: medians, and the minimum of the merge."""

    input_size: tuple[int, int]
    output_size: tuple[int, int]
    kept: int
    segments: int
    literal_ms: float
    merge_ms: float
    least_merge_ms: float


def panoptic_proposals(kept, input_size, classes, seed=0, proposals=PROPOSALS):
    """Proposals of a scene divided into `kept` cells of different size with soft, slightly noisy borders.

    The other proposals are weaker copies of the cells with the class void, like unused queries.

    Returns:
        class_logits float32 (N, classes + 1), mask_logits float32 (N, h, w).
    """
    rng = np.random.default_rng(seed)
    height, width = (-(-side // SIZE_DIVISOR) * SIZE_DIVISOR // 4 for side in input_size)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    centers = rng.uniform(0, (height, width), (kept, 2)).astype(np.float32)
    radii = rng.uniform(0.0, 0.25 * min(height, width), kept).astype(np.float32)
    # In place, in float32 and one proposal at a time, because the memory benchmark of engines includes this.
    masks = np.empty((proposals, height, width), np.float32)
    nearest, second = np.full((2, height, width), np.inf, np.float32)
    for distance, (center_y, center_x), radius in zip(masks, centers, radii, strict=False):
        np.hypot(y - center_y, x - center_x, out=distance)
        distance -= radius
        second = np.minimum(second, np.maximum(nearest, distance))
        nearest = np.minimum(nearest, distance)
    for cell in masks[:kept]:
        other = np.where(cell == nearest, second, nearest) if kept > 1 else cell + 8.0
        cell[...] = np.clip(0.8 * (other - cell), -12.0, 12.0)
        cell += 0.1 * rng.standard_normal(cell.shape, np.float32)
    for cell, double in zip(masks[kept:], rng.integers(0, kept, proposals - kept), strict=True):
        cell[...] = masks[double] - rng.uniform(1.0, 6.0)
    # Void by default; the kept ones have a class probability of at least about 0.9, above every released threshold.
    logits = 0.3 * rng.standard_normal((proposals, classes + 1))
    logits[:, -1] += 9.0
    logits[np.arange(kept), rng.integers(0, classes, kept)] += rng.uniform(12.5, 16.0, kept)
    return torch.from_numpy(logits.astype(np.float32)), torch.from_numpy(masks)


def least_traffic(input_size, output_size, kept):
    """Bytes that a merge must transfer: kept logits (float32) read, map (int32) and confidence written, each once."""
    height, width = (-(-side // SIZE_DIVISOR) * SIZE_DIVISOR // 4 for side in input_size)
    return 4 * kept * height * width + 5 * output_size[0] * output_size[1]


def measure_merge(input_size, output_size, kept, rounds, config):
    """Time both merges alternately, after a warm-up round.

    Returns:
        MergeTimes.

    Raises:
        RuntimeError: the two maps differ.
    """
    class_logits, mask_logits = panoptic_proposals(kept, input_size, len(config.label_set))
    arguments = class_logits, mask_logits, input_size, output_size, config
    times = {literal_merge: [], merge_mask_classification: []}
    results = {}
    for _ in range(rounds + 1):
        for merge, spent in times.items():
            start = time.perf_counter()
            results[merge] = merge(*arguments)
            spent.append(1e3 * (time.perf_counter() - start))
    merged, (literal_map, _) = results[merge_mask_classification], results[literal_merge]
    if not torch.equal(merged.segment_map, literal_map):
        different = int((merged.segment_map != literal_map).sum())
        raise RuntimeError(f"{different} pixels of the merge differ from the literal one at {input_size}, {kept} kept")
    medians = {merge: statistics.median(spent[1:]) for merge, spent in times.items()}
    return MergeTimes(
        input_size,
        output_size,
        kept,
        len(merged.segments),
        medians[literal_merge],
        medians[merge_mask_classification],
        min(times[merge_mask_classification][1:]),
    )
