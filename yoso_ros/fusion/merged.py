# SPDX-License-Identifier: Apache-2.0
"""The result of every network's merge: one segment map and its segments.

Legend: `H W` output size.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class MergedSegment:
    """One segment of the map: `id` from 1; `score` 0..1, the highest of its proposals; `area` in pixels."""

    id: int
    class_id: int
    is_thing: bool
    score: float
    area: int


@dataclass(frozen=True, slots=True)
class MergedSegments:
    """The result of the merge for one image.

    Attributes:
        segment_map: int32 (H, W) tensor, 0 = void, otherwise the id of a segment.
        segments: list of `MergedSegment`, ids 1, 2, ... in the order of the proposals.
        confidence: uint8 (H, W) tensor, 255 * class score * mask probability of the winning proposal, at least 1 where
            there is a segment, 0 elsewhere.
    """

    segment_map: torch.Tensor
    segments: list[MergedSegment]
    confidence: torch.Tensor
