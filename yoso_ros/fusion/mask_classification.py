# SPDX-License-Identifier: Apache-2.0
"""Panoptic merge of mask classification networks (YOSO): class and mask logits of one image to a segment map.

Legend: `N` proposals, `C` classes, `K` kept proposals; `h w` stride-4 map; `H W` output size.
"""

from typing import Any

import torch

from yoso_ros.fusion.bilinear import MASK_STRIDE
from yoso_ros.fusion.dense import DenseCompetition, resize_mask_logits
from yoso_ros.fusion.merged import MergedSegment, MergedSegments
from yoso_ros.fusion.tiled import compete_in_tiles

SMALLEST_TILED_SIDE = 64  # pixels; smaller frames have too few tiles to gain anything


@torch.no_grad()
def merge_mask_classification(
    class_logits: torch.Tensor,
    mask_logits: torch.Tensor,
    input_size: tuple[int, int],
    output_size: tuple[int, int],
    config: Any,
) -> MergedSegments:
    """Merge the proposals of one image into one panoptic map, identical to the YOSO authors' inference in every pixel.

    Proposals whose best class is not "no object" and has a probability above the score threshold compete for each pixel
    by class score times mask probability. A proposal is dropped if it wins less than `overlap_threshold` of its own
    mask; it is painted where it wins inside its mask; stuff of one class becomes one segment.

    Args:
        class_logits: float (N, C+1), divided by the temperature; the last class is "no object".
        mask_logits: float (N, h, w), at stride 4 of the padded network input (4h, 4w), on the same device.
        input_size: (height, width) of the network input before padding at the right and bottom.
        output_size: (H, W) of the map.
        config: has `score_threshold`, `overlap_threshold` and `label_set.thing_ids`.

    Returns:
        `MergedSegments` on the device of the logits.

    Raises:
        ValueError: inconsistent shapes or sizes.
    """
    input_size, output_size = _size("input_size", input_size), _size("output_size", output_size)
    _check_shapes(class_logits, mask_logits)
    padded = MASK_STRIDE * mask_logits.shape[1], MASK_STRIDE * mask_logits.shape[2]
    if input_size[0] > padded[0] or input_size[1] > padded[1]:
        raise ValueError(f"expected an input_size within the padded size {padded} of the mask logits, got {input_size}")

    def compete(scores, kept):
        logits = mask_logits
        if scores.device.type == "cpu" and min(*input_size, *output_size) >= SMALLEST_TILED_SIDE:
            if logits.dtype != torch.float32 or not logits.is_contiguous():
                logits, kept = logits.index_select(0, kept).float(), torch.arange(len(kept))
            competition = compete_in_tiles(scores, logits, kept, input_size, output_size, config.overlap_threshold)
            if competition is not None:
                return competition
        logits = logits.index_select(0, kept).float()
        return DenseCompetition(
            scores, logits, lambda part: resize_mask_logits(part, input_size, output_size), output_size
        )

    return _merge(class_logits, output_size, config, compete)


def _merge(class_logits, output_size, config, compete):
    scores, classes = class_logits.float().softmax(-1).max(-1)
    kept = ((classes != class_logits.shape[1] - 1) & (scores > config.score_threshold)).nonzero()[:, 0]
    if len(kept) == 0:
        empty = torch.zeros(output_size, dtype=torch.int32, device=class_logits.device)
        return MergedSegments(empty, [], empty.to(torch.uint8))
    scores, classes = scores[kept], classes[kept]
    competition = compete(scores, kept)
    areas = competition.winner_area, competition.mask_area, competition.painted_area
    areas = torch.stack([torch.as_tensor(area) for area in areas])
    # The only copy to the host: a few numbers per kept proposal (float64 holds all of them exactly).
    numbers = torch.cat([areas.double(), scores[None].double(), classes[None].double()]).cpu()
    ids, segments = _segments(*numbers.tolist(), config.overlap_threshold, frozenset(config.label_set.thing_ids))
    ids = torch.tensor(ids, dtype=torch.int32, device=scores.device)
    segment_map, confidence = competition.paint(ids)
    return MergedSegments(segment_map, segments, confidence)


def _segments(winner_areas, mask_areas, painted_areas, scores, classes, overlap_threshold, thing_ids):
    """Segment id of each kept proposal (0: dropped) and the list of segments, from host lists of length K."""
    ids, found, stuff_ids = [], [], {}
    for winner, mask, painted, score, class_id in zip(
        winner_areas, mask_areas, painted_areas, scores, map(int, classes), strict=True
    ):
        if winner == 0 or mask == 0 or painted == 0 or winner / mask < overlap_threshold:
            ids.append(0)
            continue
        is_thing = class_id in thing_ids
        if class_id in stuff_ids:
            segment_id = stuff_ids[class_id]
            entry = found[segment_id - 1]
            entry["score"], entry["area"] = max(entry["score"], score), entry["area"] + int(painted)
        else:
            segment_id = len(found) + 1
            found.append(
                {"id": segment_id, "class_id": class_id, "is_thing": is_thing, "score": score, "area": int(painted)}
            )
            if not is_thing:
                stuff_ids[class_id] = segment_id
        ids.append(segment_id)
    return ids, [MergedSegment(**entry) for entry in found]


def _check_shapes(class_logits, mask_logits):
    if class_logits.ndim != 2 or mask_logits.ndim != 3 or len(class_logits) != len(mask_logits):
        raise ValueError(
            "expected class_logits (N, C+1) and mask_logits (N, h, w) of one image, "
            f"got {tuple(class_logits.shape)} and {tuple(mask_logits.shape)}"
        )


def _size(name, size):
    height, width = (int(side) for side in size)
    if height < 1 or width < 1:
        raise ValueError(f"expected {name} as (height, width) of at least 1 pixel, got {tuple(size)}")
    return height, width
