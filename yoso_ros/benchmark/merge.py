# SPDX-License-Identifier: Apache-2.0
"""Time of the panoptic merge beside the literal one, on rendered proposals, interleaved.

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
SIZE_DIVISOR = 32  # the network input is padded to a multiple of it


@dataclass(frozen=True, slots=True)
class MergeTimes:
    """Median times of one case in ms."""

    input_size: tuple[int, int]
    output_size: tuple[int, int]
    kept: int
    segments: int
    literal_ms: float
    merge_ms: float


def panoptic_proposals(kept, input_size, classes, seed=0):
    """Proposals of a scene that is cut into `kept` cells of different size with soft, slightly noisy borders.

    The other proposals are fainter doubles of cells and void by their class, as unused queries are.

    Returns:
        class_logits float32 (N, classes + 1), mask_logits float32 (N, h, w).
    """
    rng = np.random.default_rng(seed)
    height, width = (-(-side // SIZE_DIVISOR) * SIZE_DIVISOR // 4 for side in input_size)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    center_y, center_x = rng.uniform(0, height, kept), rng.uniform(0, width, kept)
    distance = np.stack([np.hypot(y - cy, x - cx) for cy, cx in zip(center_y, center_x, strict=True)])
    distance -= rng.uniform(0.0, 0.25 * min(height, width), kept)[:, None, None]
    nearest = np.sort(distance, axis=0)[:2]
    other = np.where(nearest[0] == distance, nearest[-1], nearest[0]) if kept > 1 else distance + 8.0
    cells = np.clip(0.8 * (other - distance), -12.0, 12.0) + 0.1 * rng.standard_normal(distance.shape)
    double = rng.integers(0, kept, PROPOSALS - kept)
    masks = np.concatenate([cells, cells[double] - rng.uniform(1.0, 6.0, len(double))[:, None, None]])
    # Void by default; the kept ones have a class probability of about 0.9 and more, above every released threshold.
    logits = 0.3 * rng.standard_normal((PROPOSALS, classes + 1))
    logits[:, -1] += 9.0
    logits[np.arange(kept), rng.integers(0, classes, kept)] += rng.uniform(12.5, 16.0, kept)
    return torch.from_numpy(logits.astype(np.float32)), torch.from_numpy(masks.astype(np.float32))


def least_traffic(input_size, output_size, kept):
    """Bytes that a merge must move: kept logits (float32) read, map (int32) and confidence written, each once."""
    height, width = (-(-side // SIZE_DIVISOR) * SIZE_DIVISOR // 4 for side in input_size)
    return 4 * kept * height * width + 5 * output_size[0] * output_size[1]


def measure_merge(input_size, output_size, kept, rounds, config):
    """Time both merges in turns, after one round that is not counted.

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
    )
