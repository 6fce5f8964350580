# SPDX-License-Identifier: Apache-2.0
"""The merge up to the panoptic ids and the table of segments, without host synchronisation or data-dependent shapes.

The result equals `panoptic_result(merge_mask_classification(...))`. Every proposal takes part in every step, those not
kept with a score that cannot win, so that all of it can be captured in a CUDA graph.

Legend: `N` proposals, `C` classes; `h w` stride-4 map; `H W` output size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from yoso_ros.fusion.dense import DenseCompetition, resize_mask_logits
from yoso_ros.results import MAX_INSTANCES, UNLABELLED_ID, PanopticResult, Segment

if TYPE_CHECKING:
    from yoso_ros.label_sets import LabelSet

NOT_KEPT = -2.0  # score of a proposal that takes no part: below that of an empty pixel for any mask probability of 0.5
# One row of the table per segment id 0..N; row 0 and rows of area 0 are not segments.
COLUMNS = ("panoptic_id", "class_id", "score", "area", "x", "y", "width", "height", "centroid_x", "centroid_y")


class DeviceMerge(NamedTuple):
    """The result of the merge of one image, on the device."""

    panoptic: torch.Tensor  # int16 (H, W): the bits of the uint16 ids of `PanopticResult`
    confidence: torch.Tensor  # uint8 (H, W)
    table: torch.Tensor  # float64 (N + 1, len(COLUMNS))


class MaskClassificationOnDevice:
    """`merge_on_device` for the frames of one model, with the required part of the configuration on the device.

    Args:
        config: model configuration; those passed to `update` may differ only in the thresholds.
        device: torch device.

    Raises:
        NotOnDeviceError: the model has more proposals than the id rule can always distinguish.
    """

    def __init__(self, config: Any, device: torch.device | str | None):
        if config.num_proposals > MAX_INSTANCES:
            raise NotOnDeviceError(f"expected at most {MAX_INSTANCES} proposals, found {config.num_proposals}")
        things = torch.zeros(config.num_classes + 1, dtype=torch.bool)
        things[list(config.label_set.thing_ids)] = True
        self._is_thing = things.to(device)
        self._score_threshold = torch.zeros((), device=device)
        self._overlap_threshold = torch.zeros((), dtype=torch.float64, device=device)

    def update(self, config: Any) -> None:
        """Copy the thresholds of a configuration to where the captured merge reads them."""
        self._score_threshold.fill_(config.score_threshold)
        self._overlap_threshold.fill_(config.overlap_threshold)

    def __call__(self, outputs: Any, input_size: tuple[int, int], output_size: tuple[int, int]) -> DeviceMerge:
        """Outputs of one image -> `DeviceMerge`."""
        class_logits, mask_logits = outputs
        return merge_on_device(
            class_logits,
            mask_logits,
            input_size,
            output_size,
            score_threshold=self._score_threshold,
            overlap_threshold=self._overlap_threshold,
            is_thing=self._is_thing,
        )


class NotOnDeviceError(ValueError):
    """A model that must use the host path after the network."""


@torch.no_grad()
def merge_on_device(
    class_logits: torch.Tensor,
    mask_logits: torch.Tensor,
    input_size: tuple[int, int],
    output_size: tuple[int, int],
    *,
    score_threshold: torch.Tensor | float,
    overlap_threshold: torch.Tensor | float,
    is_thing: torch.Tensor,
) -> DeviceMerge:
    """Merge the proposals of one image; see `merge_mask_classification` for the rules.

    Args:
        class_logits: float (N, C+1), divided by the temperature; the last class is "no object". N <= `MAX_INSTANCES`.
        mask_logits: float (N, h, w), on the same device.
        input_size, output_size: (height, width) as for `merge_mask_classification`.
        score_threshold: float32 scalar tensor on the device.
        overlap_threshold: float64 scalar tensor on the device.
        is_thing: bool (C+1,) tensor on the device.

    Returns:
        `DeviceMerge`, without synchronisation.

    Raises:
        ValueError: more proposals than the id rule can always distinguish.
    """
    if len(class_logits) > MAX_INSTANCES:
        raise ValueError(f"expected at most {MAX_INSTANCES} proposals, found {len(class_logits)}")
    scores, classes = class_logits.float().softmax(-1).max(-1)
    kept = (classes != class_logits.shape[1] - 1) & (scores > score_threshold)
    # Kept ones first, in order: where only zeros compete, the first wins.
    order = (~kept).to(torch.uint8).argsort(stable=True)
    kept, scores, classes = kept[order], scores[order], classes[order]
    # Zeroed, because logits that are not kept may be NaN, which would win.
    logits = torch.where(kept[:, None, None], mask_logits.index_select(0, order).float(), 0.0)
    competition = DenseCompetition(
        torch.where(kept, scores, NOT_KEPT),
        logits,
        lambda part: resize_mask_logits(part, input_size, output_size),
        output_size,
    )
    things = is_thing[classes]
    ids, first = _segment_ids(competition, kept, classes, things, overlap_threshold)
    segment_map, confidence = competition.paint(ids)
    table = _table(segment_map, ids, first, scores, classes, things)
    panoptic_ids = torch.where(table[:, 3] > 0, table[:, 0], UNLABELLED_ID).to(torch.int32)
    bits = torch.where(panoptic_ids >= 1 << 15, panoptic_ids - (1 << 16), panoptic_ids).to(torch.int16)
    return DeviceMerge(bits[segment_map], confidence, table)


def _segment_ids(competition, kept, classes, things, overlap_threshold):
    """Segment id of each proposal, int32 (N,), 0 for none; and whether it is the first of its segment, bool (N,)."""
    winner, mask = competition.winner_area, competition.mask_area
    visible = winner.double() / mask.clamp(min=1).double() >= overlap_threshold
    painted = kept & (winner > 0) & (mask > 0) & (competition.painted_area > 0) & visible
    position = torch.arange(len(kept), device=kept.device)
    # Stuff of one class is one segment, that of its first proposal; argmax finds the first.
    joins = (classes[:, None] == classes) & painted & ~things
    leader = torch.where(things, position, joins.to(torch.uint8).argmax(1))
    first = painted & (leader == position)
    return torch.where(painted, first.cumsum(0)[leader], 0).to(torch.int32), first


def _table(segment_map, ids, first, scores, classes, things):
    """Float64 (N + 1, len(COLUMNS)) for segment ids 0..N, from int32 (H, W) ids and the data of N proposals."""
    count = len(ids) + 1
    device = ids.device
    height, width = segment_map.shape
    row = torch.where(first, ids, 0).long()
    class_ids = torch.zeros(count, dtype=torch.int64, device=device).scatter_(0, row, classes)
    same = (classes[:, None] == classes) & first
    instance = torch.where(things, same.tril().sum(1), 0)
    instances = torch.zeros(count, dtype=torch.int64, device=device).scatter_(0, row, instance)
    segment = torch.arange(count, device=device)
    best = torch.where(segment[:, None] == ids, scores, 0.0).amax(1)
    # The pixel counts of each segment per row and column determine its area, box and centroid exactly.
    pixels = segment_map.long()
    ys, xs = torch.arange(height, device=device), torch.arange(width, device=device)
    by_row = _histogram(pixels * height + ys[:, None], count * height).view(count, height)
    by_column = _histogram(pixels * width + xs, count * width).view(count, width)
    area = by_row.sum(1)
    area[0] = 0  # void
    x, box_width, sum_x = _extent(by_column, xs)
    y, box_height, sum_y = _extent(by_row, ys)
    pixels = area.clamp(min=1).double()
    numbers = class_ids << 8 | instances, class_ids, best, area, x, y, box_width, box_height
    return torch.stack([*(number.double() for number in numbers), sum_x / pixels, sum_y / pixels], 1)


def _histogram(index, count):
    # Unlike bincount, index_add needs no host synchronisation; its integer sums are exact in any order.
    index = index.flatten()
    return torch.zeros(count, dtype=torch.int32, device=index.device).index_add_(
        0, index, torch.ones_like(index, dtype=torch.int32)
    )


def _extent(counts, positions):
    """First position, length and sum of positions of each row of counts (N + 1, n)."""
    present = (counts > 0).to(torch.uint8)
    start = present.argmax(1)
    end = counts.shape[1] - present.flip(1).argmax(1)
    return start, end - start, (counts.double() * positions).sum(1)


def host_result(panoptic: np.ndarray, confidence: np.ndarray, table: np.ndarray, label_set: LabelSet) -> PanopticResult:
    """`PanopticResult` without timings from the arrays of a `DeviceMerge` on the host; the arrays are copied.

    Args:
        panoptic: int16 (H, W) numpy array. confidence: uint8 (H, W). table: float64 (N + 1, len(COLUMNS)).
        label_set: the `LabelSet` of the class ids.
    """
    panoptic = panoptic.view(np.uint16).copy()
    segments = []
    for row in table[table[:, 3] > 0].tolist():
        panoptic_id, class_id, score, area, *box, x, y = row
        label = label_set.classes[int(class_id)]
        segments.append(
            Segment(
                id=int(panoptic_id),
                class_id=int(class_id),
                class_name=label.name,
                is_thing=label.is_thing,
                instance_id=int(panoptic_id) & 0xFF,
                score=score,
                area=int(area),
                box_xywh=(int(box[0]), int(box[1]), int(box[2]), int(box[3])),
                centroid_xy=(x, y),
            )
        )
    segments.sort(key=lambda s: (-s.area, s.id))
    return PanopticResult(panoptic, (panoptic >> 8).astype(np.uint8), confidence.copy(), segments)
