# SPDX-License-Identifier: Apache-2.0
"""Segment maps in the terms of COCO and of the id rule.

Legend: `H W` size of an image in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from yoso_ros.data.samples import VOID_ID
from yoso_ros.results import MAX_INSTANCES, UNLABELLED_CLASS, UNLABELLED_ID, panoptic_id

if TYPE_CHECKING:
    from yoso_ros.label_sets import LabelSet
    from yoso_ros.results import PanopticResult


def coco_prediction(result: PanopticResult, categories: Sequence[int]) -> tuple[np.ndarray, list[dict[str, int]]]:
    """A `PanopticResult` in COCO's terms.

    Args:
        result: `PanopticResult`.
        categories: the data set's category id of each class id.

    Returns:
        (ids int32 (H, W), 0 = void; segments_info list with id, category_id and track_id). Ids are shifted by one,
        because the id rule uses 0 for the first class if it is stuff.
    """
    ids = np.where(result.panoptic == UNLABELLED_ID, VOID_ID, result.panoptic.astype(np.int32) + 1)
    segments = [
        {"id": s.id + 1, "category_id": categories[s.class_id], "track_id": s.track_id} for s in result.segments
    ]
    return ids, segments


def semantic_map(ids: np.ndarray, segments: list[dict[str, Any]], label_set: LabelSet) -> np.ndarray:
    """Class id of each pixel of a segment map: int (H, W) and segments_info to uint8 (H, W), 255 outside segments."""
    classes = [label_set.contiguous_id[s["category_id"]] for s in segments]
    return _paint(ids, segments, classes, UNLABELLED_CLASS).astype(np.uint8)


def truth_panoptic(ids: np.ndarray, segments: list[dict[str, Any]], label_set: LabelSet) -> np.ndarray:
    """A segment map by the id rule, for drawing: int (H, W) and segments_info to uint16 (H, W), 65535 outside.

    Instances are numbered from 1 in the order of `segments`; those beyond 255 share the last number.
    """
    counts, values = {}, []
    for segment in segments:
        class_id = label_set.contiguous_id[segment["category_id"]]
        counts[class_id] = min(counts.get(class_id, 0) + 1, MAX_INSTANCES)
        values.append(panoptic_id(class_id, counts[class_id] if label_set.classes[class_id].is_thing else 0))
    return _paint(ids, segments, values, UNLABELLED_ID).astype(np.uint16)


def _paint(ids, segments, values, outside):
    """The value of each pixel's segment, int64 (H, W)."""
    known = np.array([VOID_ID, *(s["id"] for s in segments)], dtype=np.int64)
    values = np.array([outside, *values], dtype=np.int64)
    order = np.argsort(known)
    nearest = order[np.minimum(np.searchsorted(known, ids, sorter=order), len(known) - 1)]
    return np.where(known[nearest] == ids, values[nearest], outside)
