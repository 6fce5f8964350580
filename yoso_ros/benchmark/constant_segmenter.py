# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the segmenter that returns one fixed result at once, to measure the rest of the node."""

import itertools
from types import SimpleNamespace

import numpy as np

from yoso_ros.label_sets import load_label_set
from yoso_ros.results import panoptic_result

LABEL_SET = "camvid"
STRIPES = 20  # segments of the result, about as many as in a busy street


class ConstantSegmenter:
    """The interface of `Segmenter`; accepts and ignores the arguments of `yoso_ros.load_segmenter`."""

    def __init__(self, model, weights=None, **_settings):
        self.label_set = load_label_set(LABEL_SET)
        self.backend = "constant"
        self.score_threshold, self.overlap_threshold = 0.5, 0.5
        self._results = {}

    def __call__(self, frame):
        return self.batch([frame])[0]

    def batch(self, frames):
        """The same `PanopticResult` for every frame of one size."""
        return self.infer(self.prepare(frames))

    def prepare(self, frames):
        """First stage: the sizes of the frames."""
        return [frame.shape[:2] for frame in frames]

    def infer(self, prepared):
        """Second stage: the results."""
        return [self._result(size) for size in prepared]

    def merge(self, inferred):
        """Third stage: the result."""
        return inferred

    def _result(self, size):
        if size not in self._results:
            height, width = size
            count = min(STRIPES, width)
            stripes = np.arange(width) * count // width + 1
            # One segment per stuff class; the rest are things.
            stuff = [i for i, label in enumerate(self.label_set.classes) if not label.is_thing]
            things = itertools.cycle(self.label_set.thing_ids)
            classes = [*stuff, *itertools.islice(things, max(0, count - len(stuff)))][:count]
            merged = SimpleNamespace(
                segment_map=np.broadcast_to(stripes, (height, width)).astype(np.int32),
                confidence=np.full(size, 200, np.uint8),
                segments=[
                    SimpleNamespace(id=i + 1, class_id=c, is_thing=self.label_set.classes[c].is_thing, score=0.9)
                    for i, c in enumerate(classes)
                ],
            )
            nothing = {"preprocess": 0.0, "inference": 0.0, "postprocess": 0.0}
            self._results[size] = panoptic_result(merged, self.label_set, nothing)
        return self._results[size]
