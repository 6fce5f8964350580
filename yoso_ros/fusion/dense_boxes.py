# SPDX-License-Identifier: Apache-2.0
"""RealTimePan's parameter-free masks (Eq. 4 to 7): which pixels have a dense box similar to the box of an instance.

A pixel can be part of a mask only where the instance's class alone is probable enough, because the location score is at
most 1. So boxes are compared only there and next to it, for all instances at once, and never on whole maps. Everything
is float32, because box areas exceed the largest half-precision number.

Legend: `L` locations, `T` thing classes, `C` classes, `S` dense boxes per pixel, `N` instances, `P` = h w pixels at
stride 4, `E` mask pixels, `H W` output; boxes x1 y1 x2 y2 in pixels of the network input.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from yoso_ros.fusion.cells import Cells, positions
from yoso_ros.fusion.detections import (
    best_with_ties,
    clip_boxes,
    find_candidates,
    level_map_sizes,
    non_maximum_suppression,
)
from yoso_ros.fusion.panoptic_from_detections import MaskPixels

if TYPE_CHECKING:
    from yoso_ros.fusion.detections import Detections
    from yoso_ros.models.realtimepan.network import RealTimePanConfig, RealTimePanOutputs

MASK_STRIDE = 4
MOST_PAIRS = 1 << 20  # pairs of instance and pixel compared at a time; bounds the memory
MOST_GRID = 1 << 21  # map pixels of the instances processed together, for the same reason
MOST_CELLS = 1 << 17  # cells resized together, for the same reason
SMALLEST_AREA = 1e-7  # square pixels; avoids 0/0, in gradients too
ROUNDING = 1e-5  # a resized value can exceed the greatest of its four corners by less than this relative amount


def find_queries(
    outputs: RealTimePanOutputs, input_size: tuple[int, int], config: RealTimePanConfig, least_score: float = 0.0
) -> Detections:
    """The boxes that search for their masks (Eq. 4), best first.

    Takes from each level the best by class times centerness among those whose class probability exceeds its threshold,
    clips them, suppresses within each class, then across classes (one box with two labels), and keeps the best with
    all ties.

    Args:
        outputs: `RealTimePanOutputs` of one image.
        input_size: (height, width) of the network input before padding.
        config: a `RealTimePanConfig`.
        least_score: leave out boxes below it before the suppression, where they suppress only each other.

    Returns:
        `Detections`; class t is the t-th thing of the label set.
    """
    height, width = (MASK_STRIDE * side for side in outputs.dense_boxes.shape[-2:])
    found = find_candidates(
        outputs.box_scores.float(),
        outputs.centerness.float(),
        clip_boxes(outputs.boxes.float(), input_size),
        [h * w for h, w in level_map_sizes(height, width)],
        threshold=config.class_threshold,
        limit=config.pre_nms_top_n,
    )
    found = found.select(found.scores >= least_score)
    found = found.select(non_maximum_suppression(found.boxes, found.scores, config.nms_threshold, found.classes))
    found = found.select(non_maximum_suppression(found.boxes, found.scores, config.class_agnostic_nms_threshold))
    return found.select(best_with_ties(found.scores, config.max_boxes))


def thing_probabilities(
    semantic_logits: torch.Tensor, size: tuple[int, int], thing_ids: tuple[Any, ...]
) -> torch.Tensor:
    """Probabilities of the things at stride 4 (Eq. 2): resize the logits, softmax over all classes, select the things.

    Args:
        semantic_logits: float (C, h/2, w/2). size: (h, w). thing_ids: classes.

    Returns:
        float32 (T, P).
    """
    logits = functional.interpolate(semantic_logits[None].float(), size=size, mode="bilinear", align_corners=False)[0]
    things = torch.tensor(thing_ids, dtype=torch.int64, device=logits.device)
    return (logits.flatten(1).index_select(0, things) - logits.flatten(1).logsumexp(0)).exp_()


def location_score(queries: torch.Tensor, boxes: torch.Tensor, form: str) -> torch.Tensor:
    """How certainly a pixel with a dense box belongs to a query box, elementwise.

    Args:
        queries, boxes: float32 (4, ...), broadcastable, x1 y1 x2 y2; no side is negative.
        form: "iou" (Eq. 6), or "giou_smoothed": (I + 1) / (U + 1) - (C - U) / (C + 1e-7) with the intersection, the
            union and the enclosing box, as in the authors' code, from -1 to 1.

    Returns:
        float32 (...); 0 by "iou" for two boxes without area.
    """
    width = torch.minimum(queries[2], boxes[2]) - torch.maximum(queries[0], boxes[0])
    height = torch.minimum(queries[3], boxes[3]) - torch.maximum(queries[1], boxes[1])
    intersection = width.clamp(min=0) * height.clamp(min=0)
    union = _area(queries) + _area(boxes) - intersection
    if form == "iou":
        return intersection / union.clamp(min=SMALLEST_AREA)
    width = torch.maximum(queries[2], boxes[2]) - torch.minimum(queries[0], boxes[0])
    height = torch.maximum(queries[3], boxes[3]) - torch.minimum(queries[1], boxes[1])
    enclosing = width * height
    return (intersection + 1) / (union + 1) - (enclosing - union) / (enclosing + 1e-7)


def _area(boxes):
    return (boxes[2] - boxes[0]) * (boxes[3] - boxes[1])


class MaskConstruction:
    """The mask probabilities (Eq. 5) of the instances of one image.

    Args:
        queries: `Detections`.
        outputs: `RealTimePanOutputs` of one image.
        config: a `RealTimePanConfig`.
    """

    def __init__(self, queries: Detections, outputs: RealTimePanOutputs, config: RealTimePanConfig):
        self._classes, self._form, self._threshold = queries.classes, config.location_score, config.mask_threshold
        self._height, self._width = outputs.dense_boxes.shape[-2:]
        self._queries = queries.boxes.T.contiguous()
        self._boxes = outputs.dense_boxes.float().reshape(-1, 4, self._height * self._width)
        # Only of the classes that were found, by class: a label set may have a hundred of them.
        found = queries.classes.unique().tolist()
        size, things = (self._height, self._width), tuple(config.label_set.thing_ids[i] for i in found)
        probabilities = thing_probabilities(outputs.semantic_logits, size, things)
        self._class_probabilities = dict(zip(found, probabilities, strict=True))
        # Nothing below this can be part of a mask, even between four map pixels.
        self._least = config.mask_threshold * (1 - ROUNDING)

    def _location(self, queries, boxes):
        """Location score of queries (4, ...) and the dense boxes (S, 4, ...) of pixels.

        Without levelness it is the maximum over the levels (section 5.5).
        """
        score = location_score(queries, boxes[0], self._form)
        for level in boxes[1:]:
            score = torch.maximum(score, location_score(queries, level, self._form))
        return score

    def pixels(self, input_size: tuple[int, int], output_size: tuple[int, int]) -> Iterator[MaskPixels]:
        """The pixels of all masks at output size: those whose resized probability reaches the threshold (Eq. 7).

        Args:
            input_size, output_size: (height, width) before padding, and of the output.

        Yields:
            `MaskPixels`, a bounded number at a time. Masks are not cropped to their boxes.
        """
        cells = Cells((self._height, self._width), MASK_STRIDE, input_size, output_size, self._boxes.device)
        for class_id, probability in self._class_probabilities.items():
            candidates = positions(probability >= self._least)
            instances = positions(self._classes == class_id)
            most = max(1, min(MOST_PAIRS // max(1, len(candidates)), MOST_GRID // len(probability)))
            for part in instances.split(most):
                yield from self._class_pixels(part, candidates, probability, cells)

    def _class_pixels(self, instances, candidates, probability, cells):
        """Yield `MaskPixels` of some instances of one class; candidates: int64, map pixels where it is probable."""
        map_pixels, count = len(probability), len(instances)
        queries = self._queries[:, instances]
        score = self._location(queries[:, :, None], self._boxes[:, :, None, candidates]).mul_(probability[candidates])
        strong = positions(score >= self._least)
        strong_instances = strong // max(1, len(candidates))
        strong = candidates[strong - strong_instances * len(candidates)]
        rows, columns = strong // self._width, strong % self._width
        members, rows, columns = cells.around(strong_instances, rows, columns, count)
        corners = [members * map_pixels + corner for corner in cells.corners(rows, columns)]
        # Every corner is compared once, however many cells share it.
        marks = torch.zeros(count * map_pixels, dtype=torch.bool, device=strong.device)
        for corner in corners:
            marks[corner] = True
        needed = positions(marks)
        pixels = needed % map_pixels
        score = self._location(queries[:, needed // map_pixels], self._boxes[:, :, pixels]).mul_(probability[pixels])
        grid = torch.empty(count * map_pixels, device=strong.device)
        grid[needed] = score
        members = instances[members]
        for chunk in torch.arange(len(rows), device=rows.device).split(MOST_CELLS):
            chunk = slice(int(chunk[0]), int(chunk[-1]) + 1) if len(chunk) else slice(0, 0)
            values = cells.interpolate(rows[chunk], columns[chunk], [grid[corner[chunk]] for corner in corners])
            hits = positions(values >= self._threshold)
            owners = members[chunk][hits // (values.shape[1] * values.shape[2])]
            pixels = cells.pixels(rows[chunk], columns[chunk]).flatten()[hits]
            yield MaskPixels(owners.int(), pixels.int(), values.flatten()[hits])
