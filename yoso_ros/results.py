# SPDX-License-Identifier: Apache-2.0
"""The result of a segmentation: one id per pixel, the list of segments, and the id rule that connects them.

Legend: `H W` size of the input frame in pixels; x to the right, y down, origin at the top-left pixel.
"""

from dataclasses import dataclass, field

import numpy as np

UNLABELLED_CLASS = 255
UNLABELLED_ID = 65535
MAX_INSTANCES = 255  # instances per class and frame that the id rule can distinguish


def panoptic_id(class_id, instance_id):
    """The id rule: `class_id << 8 | instance_id`; stuff has instance 0, things 1..255. Works on ints and arrays."""
    return (class_id << 8) | instance_id


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment: `score` 0..1; `area` in pixels; `box_xywh` tight, in pixels; `centroid_xy` mean of pixel centres;
    `track_id` stable over frames, 0 = not tracked."""

    id: int
    class_id: int
    class_name: str
    is_thing: bool
    instance_id: int
    score: float
    area: int
    box_xywh: tuple[int, int, int, int]
    centroid_xy: tuple[float, float]
    track_id: int = 0


@dataclass(frozen=True, slots=True)
class PanopticResult:
    """Panoptic segmentation of one frame; `panoptic >> 8 == semantic` holds on every pixel.

    Attributes:
        panoptic: uint16 (H, W), `class_id << 8 | instance_id`, 65535 = unlabelled.
        semantic: uint8 (H, W), class id, 255 = unlabelled.
        confidence: uint8 (H, W), 255 * probability of the winning segment at the pixel (class score times mask
            probability), at least 1 on labelled pixels, 0 = unlabelled.
        segments: list of `Segment`, by area, largest first, one per distinct id except 65535.
        timings_ms: {"preprocess", "inference", "postprocess"}; disjoint, they add up to the duration of the call.
    """

    panoptic: np.ndarray
    semantic: np.ndarray
    confidence: np.ndarray
    segments: list[Segment]
    timings_ms: dict[str, float] = field(default_factory=dict)


def panoptic_result(merged, label_set, timings_ms=None):
    """Build the result of a frame from a merge.

    Things are numbered from 1 per class in the order of the merge. In a class with more than `MAX_INSTANCES` things,
    those with the lowest scores become unlabelled, because the id rule cannot represent them.

    Args:
        merged: has `segment_map` integer (H, W), 0 = void; `segments`, each with `id` (a value of the map), `class_id`,
            `is_thing` and `score`; and `confidence` uint8 (H, W). Arrays or tensors.
        label_set: the `LabelSet` of the class ids.
        timings_ms: passed through; None gives an empty dict.

    Returns:
        PanopticResult.
    """
    segment_map, confidence = _host_array(merged.segment_map), _host_array(merged.confidence)
    names = _panoptic_ids(merged.segments)
    lookup = np.full(max([0, *names]) + 1, UNLABELLED_ID, np.uint16)
    lookup[list(names)] = list(names.values())
    runs = _Runs(segment_map)
    panoptic_runs = lookup[runs.value]
    panoptic = np.repeat(panoptic_runs, runs.length).reshape(segment_map.shape)
    semantic = (panoptic >> 8).astype(np.uint8)
    if len(names) < len(merged.segments):
        confidence = np.where(panoptic == UNLABELLED_ID, np.uint8(0), confidence)
    area, box, centroid = runs.geometry(len(lookup))
    segments = [
        Segment(
            id=names[s.id],
            class_id=s.class_id,
            class_name=label_set.classes[s.class_id].name,
            is_thing=s.is_thing,
            instance_id=names[s.id] & 0xFF,
            score=s.score,
            area=area[s.id],
            box_xywh=tuple(box[s.id]),
            centroid_xy=tuple(centroid[s.id]),
        )
        for s in merged.segments
        if s.id in names and area[s.id] > 0
    ]
    segments.sort(key=lambda s: (-s.area, s.id))
    return PanopticResult(panoptic, semantic, confidence, segments, timings_ms or {})


def segments_of(panoptic, label_set, score=1.0):
    """The segments of a map by the id rule, such as ground truth, which has no merge.

    Args:
        panoptic: uint16 (H, W), panoptic ids of the label set; 65535 = unlabelled.
        label_set: the `LabelSet` of the class ids.
        score: of every segment.

    Returns:
        list of `Segment`, largest first. A thing may have instance 0, which in ground truth is a crowd.
    """
    runs = _Runs(panoptic)
    ids, runs.value = np.unique(runs.value, return_inverse=True)
    segments = []
    for number, *place in zip(ids.tolist(), *runs.geometry(len(ids)), strict=True):
        if number != UNLABELLED_ID:
            label = label_set.classes[number >> 8]
            area, box, centroid = place[0], tuple(place[1]), tuple(place[2])
            named = (number, number >> 8, label.name, label.is_thing, number & 0xFF)
            segments.append(Segment(*named, score, area, box, centroid))
    return sorted(segments, key=lambda s: (-s.area, s.id))


def _host_array(array):
    return np.asarray(array.cpu() if hasattr(array, "cpu") else array)


def _panoptic_ids(segments):
    """Panoptic id of each segment id that can have one: dict."""
    things = {}
    for segment in segments:
        if segment.is_thing:
            things.setdefault(segment.class_id, []).append(segment)
    too_many = set()
    for same_class in things.values():
        too_many.update(s.id for s in sorted(same_class, key=lambda s: -s.score)[MAX_INSTANCES:])
    names, instances = {}, {}
    for segment in segments:
        if segment.id not in too_many:
            if segment.is_thing:
                instances[segment.class_id] = instances.get(segment.class_id, 0) + 1
            names[segment.id] = panoptic_id(segment.class_id, instances.get(segment.class_id, 0))
    return names


class _Runs:
    """Runs of equal values along the rows of a map: a few thousand numbers that determine areas and boxes."""

    def __init__(self, segment_map):
        height, width = segment_map.shape
        begins = np.empty((height, width), bool)
        begins[:, 0] = True
        np.not_equal(segment_map[:, 1:], segment_map[:, :-1], out=begins[:, 1:])
        start = np.flatnonzero(begins)
        self.value = segment_map.reshape(-1)[start]
        self.length = np.diff(start, append=height * width)
        self._row, self._column = start // width, start % width

    def geometry(self, count):
        """Per value below `count`, as lists: area, box (x, y, width, height), centroid (x, y)."""
        area = np.bincount(self.value, self.length, count)
        last_column = self._column + self.length - 1
        # Sums of integers below 2^53: exact in float64.
        x = np.bincount(self.value, self.length * (self._column + last_column) / 2, count)
        y = np.bincount(self.value, self.length * self._row, count)
        low = np.full((2, count), np.iinfo(np.int64).max)
        high = np.full((2, count), -1)
        for axis, (first, last) in enumerate([(self._column, last_column), (self._row, self._row)]):
            np.minimum.at(low[axis], self.value, first)
            np.maximum.at(high[axis], self.value, last)
        box = np.concatenate([low, high - low + 1]).T
        centroid = np.stack([x, y], 1) / np.maximum(area, 1)[:, None]
        return area.astype(np.int64).tolist(), box.tolist(), centroid.tolist()
