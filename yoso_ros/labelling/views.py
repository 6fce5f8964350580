# SPDX-License-Identifier: Apache-2.0
"""Combine two results of one frame: confidence is kept where they agree and lowered where they differ.

Legend: `H W` size of the frame in pixels, `K` segments of both results.
"""

import dataclasses

import numpy as np

from yoso_ros.results import MAX_INSTANCES, UNLABELLED_ID, PanopticResult, panoptic_id, segments_of

SAME_IOU = 0.5  # above this overlap no segment can have two partners
SMALLEST_VISIBLE = 0.5  # share of a segment that must remain in the joint result


def segment_with_flip(segmenter, frame):
    """The joint result of a frame and its mirror image: `PanopticResult`; `frame` uint8 (H, W, 3) RGB."""
    return join(segmenter(frame), mirrored(segmenter(np.ascontiguousarray(frame[:, ::-1]))), segmenter.label_set)


def mirrored(result):
    """A result of the mirror image in the coordinates of the frame; `join` measures its segments again."""
    maps = {
        name: np.ascontiguousarray(getattr(result, name)[:, ::-1]) for name in ("panoptic", "semantic", "confidence")
    }
    return dataclasses.replace(result, **maps)


def join(first, second, label_set):
    """Join two results of the same frame.

    Segments of one class whose IoU exceeds one half become one segment; stuff of one class always does. A pixel with
    the same segment in both results gets the mean of the confidences. Elsewhere the more confident result wins, with
    half of the difference as confidence. A segment of which less than half remains becomes void.

    Args:
        first, second: `PanopticResult` of (H, W). label_set: of their classes.

    Returns:
        `PanopticResult`.
    """
    things = _counts(first)
    names, scores = {}, {s.id: s.score for s in first.segments}
    for segment, partner in _partners(first, second):
        if partner is not None:
            names[segment.id] = partner
        elif segment.is_thing:
            things[segment.class_id] = things.get(segment.class_id, 0) + 1
            number = things[segment.class_id]
            new = panoptic_id(segment.class_id, number) if number <= MAX_INSTANCES else UNLABELLED_ID
            names[segment.id] = new
        else:
            names[segment.id] = segment.id
        scores[names[segment.id]] = max(scores.get(names[segment.id], 0.0), segment.score)
    table = np.arange(UNLABELLED_ID + 1, dtype=np.uint16)
    table[list(names)] = list(names.values())
    other = table[second.panoptic]
    one_sure, other_sure = first.confidence.astype(np.int16), second.confidence.astype(np.int16)
    same, take_first = first.panoptic == other, one_sure >= other_sure
    panoptic = np.where(same | take_first, first.panoptic, other)
    confidence = np.where(same, (one_sure + other_sure + 1) // 2, (np.abs(one_sure - other_sure) + 1) // 2)
    _drop_fragments(panoptic, first.panoptic, other)
    labelled = panoptic != UNLABELLED_ID
    confidence = np.where(labelled, np.maximum(confidence, 1), 0).astype(np.uint8)
    segments = [dataclasses.replace(s, score=scores.get(s.id, 0.0)) for s in segments_of(panoptic, label_set)]
    times = {name: first.timings_ms.get(name, 0.0) + ms for name, ms in second.timings_ms.items()}
    return PanopticResult(panoptic, (panoptic >> 8).astype(np.uint8), confidence, segments, times)


def _counts(result):
    """Highest instance number of each thing class: dict."""
    counts = {}
    for segment in result.segments:
        if segment.is_thing:
            counts[segment.class_id] = max(counts.get(segment.class_id, 0), segment.instance_id)
    return counts


def _partners(first, second):
    """Each segment of the second result with the id of its partner in the first, or None."""
    pairs, shared = np.unique(first.panoptic.astype(np.uint32) << 16 | second.panoptic, return_counts=True)
    areas = {}
    for name, result in (("first", first), ("second", second)):
        areas[name] = dict(zip(*(a.tolist() for a in np.unique(result.panoptic, return_counts=True)), strict=True))
    partners = {}
    for pair, area in zip(pairs.tolist(), shared.tolist(), strict=True):
        one, other = pair >> 16, pair & 0xFFFF
        union = areas["first"][one] + areas["second"][other] - area
        if one >> 8 == other >> 8 and area / union > SAME_IOU:
            partners[other] = one
    return [(s, partners.get(s.id)) for s in second.segments]


def _drop_fragments(panoptic, first, second):
    """Turn segments void, in place, of which less than half of the larger of their two forms remains."""
    areas = [np.bincount(m.ravel(), minlength=UNLABELLED_ID + 1) for m in (panoptic, first, second)]
    few = areas[0] < SMALLEST_VISIBLE * np.maximum(areas[1], areas[2])
    few[UNLABELLED_ID] = False
    panoptic[few[panoptic]] = UNLABELLED_ID
