# SPDX-License-Identifier: Apache-2.0
"""What the mask cells under a tile imply for its pixels before any of them is computed.

Legend: `K` kept ones of `N` proposals; `h w` stride-4 map; `Y X` rows and columns of tiles; `R` mask cells that a tile
depends on, along one axis.
"""

import numpy as np
import torch

# Rounding can push a resized logit out of its bounds by a few float32 steps; these are about ten times as wide.
LOGIT_SLACK = np.float32(2e-6)
PROBABILITY_SLACK = np.float32(1e-5)
# Below this the relative slack is meaningless (denormal numbers), so that nothing is ruled out.
LEAST_PROBABILITY = 1e-30
CACHED_LOGITS = 1 << 18  # reduced at a time, to stay in a core's cache


def tile_bounds(
    mask_logits: torch.Tensor, kept: torch.Tensor, row_reach: torch.Tensor, column_reach: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds of the resized logits in each tile: two float32 (K, Y*X) arrays."""
    _, height, width = mask_logits.shape
    reduced = torch.empty((2, len(kept), len(row_reach), width))  # the greatest, and the greatest of the negative
    lines = (kept * height)[:, None] + row_reach.flatten()
    together = max(1, CACHED_LOGITS // (lines.shape[1] * width))
    for start in range(0, len(kept), together):
        part = slice(start, start + together)
        cells = mask_logits.view(-1, width).index_select(0, lines[part].flatten()).view(-1, *row_reach.shape, width)
        torch.amax(cells, 2, out=reduced[0, part])
        torch.amin(cells, 2, out=reduced[1, part])
    reduced[1].neg_()
    # Columns outermost, because a reduction is fast only if its axis is not innermost.
    columns = reduced.view(-1, width).t().contiguous().index_select(0, column_reach.flatten())
    reduced = columns.view(*column_reach.shape, -1).amax(1).view(-1, 2, len(kept), len(row_reach)).permute(1, 2, 3, 0)
    upper, lower = reduced.flatten(2).numpy() * np.array([1, -1], np.float32)[:, None, None]
    return lower - np.abs(lower) * LOGIT_SLACK, upper + np.abs(upper) * LOGIT_SLACK


def judge_tiles(scores: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, ...]:
    """What follows from the bounds: which proposals can win, cross or fill a tile, or do not matter to any mask there.

    Args:
        scores: float32 (K, 1). lower, upper: float32 (K, Y*X).

    Returns:
        most: float32 (K, Y*X), upper bound of score times mask probability in the tile.
        contender, border, full: bool (K, Y*X).
        faint: bool (K, Y*X), takes no pixel: outside its mask in the tile, at most half the score of any that is not.
        certain: bool (K, Y*X), full, and the confidence of each pixel rounds to that of a mask probability of 1.
    """
    darkest, brightest = (torch.sigmoid(torch.from_numpy(bound)).numpy() for bound in (lower, upper))
    least = (darkest * scores).max(0)
    least[least < LEAST_PROBABILITY] = 0.0
    most = brightest * (scores * (1 + PROBABILITY_SLACK))
    contender = ~(most < least)  # written so that a NaN keeps the proposal
    full, outside = lower > LOGIT_SLACK, upper < -LOGIT_SLACK
    faint = outside & (most < np.where(outside, np.float32(np.inf), np.float32(0.5) * scores).min(0))
    darkest *= scores * (1 - PROBABILITY_SLACK)
    certain = full & (to_confidence(darkest) == to_confidence(scores.copy()))
    return most, contender, ~(full | outside), full, faint, certain


def to_confidence(probability: np.ndarray) -> np.ndarray:
    """Score times mask probability as uint8, at least 1; overwrites its argument."""
    probability *= np.float32(255)
    np.maximum(np.rint(probability, out=probability), np.float32(1), out=probability)
    with np.errstate(invalid="ignore"):  # NaN
        return probability.astype(np.uint8)
