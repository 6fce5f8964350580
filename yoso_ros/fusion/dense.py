# SPDX-License-Identifier: Apache-2.0
"""Which proposal wins each pixel, in plain tensor operations: for CUDA, small frames and heavily overlapping masks.

Legend: `K` kept proposals; `h w` stride-4 map; `H W` output size.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.nn import functional

from yoso_ros.fusion.bilinear import MASK_STRIDE

CHUNK_ELEMENTS = 1 << 24  # upsampled logits held at a time (64 MiB)
# torch's CPU kernels evaluate the last few elements of a block with a different exp, one float step off. Blocks of this
# many elements have no such remainder, so that equal logits have equal probabilities at every position.
EVEN_ELEMENTS = 4096


def resize_mask_logits(
    mask_logits: torch.Tensor, input_size: Sequence[int], output_size: Sequence[int]
) -> torch.Tensor:
    """Stride-4 logits to output pixels as in the authors' code: to the padded input, cropped, then to the output size.

    Args:
        mask_logits: float32 (K, h, w), of a network input of (4h, 4w) that is padded at the right and bottom.
        input_size, output_size: (height, width) before padding, and of the output.

    Returns:
        float32 (K, H, W), logits.
    """
    padded = (MASK_STRIDE * mask_logits.shape[1], MASK_STRIDE * mask_logits.shape[2])
    resized = functional.interpolate(mask_logits[None], size=padded, mode="bilinear", align_corners=False)
    resized = resized[:, :, : input_size[0], : input_size[1]]
    if input_size != output_size:
        resized = functional.interpolate(resized, size=output_size, mode="bilinear", align_corners=False)
    return resized[0]


def chunks_of_masks(count: int, output_size: Sequence[int]) -> Iterator[slice]:
    """Slices of `count` masks of (H, W), each small enough to be held at output size: iterator."""
    chunk = max(1, CHUNK_ELEMENTS // (output_size[0] * output_size[1]))
    for start in range(0, count, chunk):
        yield slice(start, start + chunk)


class DenseCompetition:
    """The winner of each pixel: the first of the proposals with the greatest score times mask probability.

    Attributes:
        winner_area: int64 (K,), pixels where the proposal wins.
        mask_area: int64 (K,), pixels where its mask probability is at least 0.5.
        painted_area: int64 (K,), pixels where both hold.
    """

    def __init__(
        self, scores: torch.Tensor, mask_logits: torch.Tensor, resize: Callable[..., Any], output_size: Sequence[int]
    ):
        """Run the competition.

        Args:
            scores: float32 (K,), K >= 1. mask_logits: float32 (K, h, w), on the same device.
            resize: function from (k, h, w) to (k, H, W) logits.
            output_size: (H, W).
        """
        device = scores.device
        self._best = torch.full(output_size, -1.0, device=device)
        self._winner = torch.zeros(output_size, dtype=torch.int64, device=device)
        self._painted = torch.zeros(output_size, dtype=torch.bool, device=device)
        mask_areas = []
        for part in chunks_of_masks(len(scores), output_size):
            probability = _even_sigmoid(resize(mask_logits[part]))
            inside = probability >= 0.5
            mask_areas.append(inside.sum((1, 2)))
            best, winner = (probability * scores[part, None, None]).max(0)
            better = best > self._best
            self._best = torch.where(better, best, self._best)
            self._winner = torch.where(better, winner + part.start, self._winner)
            self._painted = torch.where(better, inside.gather(0, winner[None])[0], self._painted)
        self.mask_area = torch.cat(mask_areas)
        self.winner_area = self._count(torch.ones_like(self._painted))
        self.painted_area = self._count(self._painted)

    def _count(self, weights):
        # Sums of ones in float64 are exact, and unlike bincount, index_add needs no host synchronisation.
        total = torch.zeros(len(self.mask_area), dtype=torch.float64, device=weights.device)
        return total.index_add_(0, self._winner.flatten(), weights.flatten().double()).long()

    def paint(self, segment_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Assign the pixels to their segments.

        Args:
            segment_ids: int32 (K,), the segment of each proposal, 0 for none.

        Returns:
            segment_map: int32 (H, W), 0 outside segments.
            confidence: uint8 (H, W), 255 * score * mask probability of the winner, at least 1; 0 outside segments.
        """
        segment_map = segment_ids[self._winner] * self._painted
        confidence = (255.0 * self._best).round().clamp(min=1.0) * (segment_map > 0)
        return segment_map, confidence.to(torch.uint8)


def _even_sigmoid(logits):
    flat = logits.flatten()
    return functional.pad(flat, (0, -len(flat) % EVEN_ELEMENTS)).sigmoid_()[: len(flat)].view(logits.shape)
