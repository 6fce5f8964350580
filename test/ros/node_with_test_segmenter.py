# SPDX-License-Identifier: Apache-2.0
"""The node as a process of its own with a segmenter whose right answer is known: colour decides the class."""

import os
import sys
import time

import numpy as np

from yoso_ros.errors import InputError
from yoso_ros.label_sets import load_label_set
from yoso_ros.results import UNLABELLED_ID, PanopticResult, Segment

ROAD, CAR = 3, 8
POISON_RED = 13  # a first pixel of this red makes the segmenter fail, as a bug or a full memory would
LOST_RED = 16  # after a first pixel of this red every frame fails, as on a GPU that is lost, until a new start
POISON_OF_STAGE = {"prepare": 14, "infer": POISON_RED, "merge": 15}


def expected_panoptic(frame):
    """uint16 (H, W) for a uint8 (H, W, 3) RGB frame: red is car 1, green is road, anything else is unlabelled."""
    panoptic = np.full(frame.shape[:2], UNLABELLED_ID, np.uint16)
    panoptic[frame[..., 1] >= 128] = ROAD << 8
    panoptic[frame[..., 0] >= 128] = CAR << 8 | 1
    return panoptic


class ColourSegmenter:
    """A stand-in for the network: same interface, no weights, takes YOSO_TEST_DELAY_S for a frame.

    YOSO_TEST_SIDE_DELAY_S is for each of the stages before and behind.
    """

    def __init__(self, model, weights=None, device="auto", engine="auto", precision="auto", download=False):
        if model == "missing":
            raise InputError("expected a model in config/models, found 'missing'")
        if model == "endless":
            print("loading", flush=True)
            time.sleep(60)
        self.label_set = load_label_set("camvid")
        self.backend = f"test-{device}-{precision}"
        self.score_threshold, self.overlap_threshold = 0.4, 0.6
        self._delay_s = float(os.environ.get("YOSO_TEST_DELAY_S", "0"))
        self._lost = False
        self._side_delay_s = float(os.environ.get("YOSO_TEST_SIDE_DELAY_S", "0"))

    def __call__(self, frame):
        return self.batch([frame])[0]

    def batch(self, frames):
        return [self.merge(inferred) for inferred in self.infer(self.prepare(frames))]

    def _stage(self, name, frames):
        if any(frame[0, 0, 0] == POISON_OF_STAGE[name] for frame in frames):
            raise RuntimeError("poisoned frame 42" if name == "infer" else f"{name} is poisoned")
        self._lost |= any(frame[0, 0, 0] == LOST_RED for frame in frames)
        if self._lost and name == "infer":
            raise RuntimeError("CUDA error: unspecified launch failure")
        time.sleep(self._delay_s if name == "infer" else self._side_delay_s)

    def prepare(self, frames):
        self._stage("prepare", frames)
        return frames

    def merge(self, inferred):
        frame, timings = inferred
        self._stage("merge", [frame])
        return self._result(frame, timings)

    def infer(self, frames):
        """One pass takes the delay once, however many frames it has; results carry their share of the time."""
        self._stage("infer", frames)
        milliseconds = 1e3 * self._delay_s / len(frames)
        return [(frame, {"inference": milliseconds}) for frame in frames]

    def _result(self, frame, timings):
        panoptic = expected_panoptic(frame)
        segments = []
        for segment_id in np.unique(panoptic[panoptic != UNLABELLED_ID]):
            y, x = np.nonzero(panoptic == segment_id)
            label = self.label_set.classes[segment_id >> 8]
            box = (x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1)
            # The threshold is shown in the score, so that tests see which one was in force.
            score = self.score_threshold
            segments.append(
                Segment(
                    int(segment_id),
                    int(segment_id) >> 8,
                    label.name,
                    label.is_thing,
                    int(segment_id) & 255,
                    score,
                    x.size,
                    tuple(map(int, box)),
                    (x.mean(), y.mean()),
                )
            )
        segments.sort(key=lambda s: -s.area)
        confidence = np.where(panoptic == UNLABELLED_ID, 0, 200).astype(np.uint8)
        timings = {"preprocess": 0.0, "postprocess": 0.0} | timings
        return PanopticResult(panoptic, (panoptic >> 8).astype(np.uint8), confidence, segments, timings)


if __name__ == "__main__":
    from yoso_ros.ros.node import main

    sys.exit(main(load_segmenter=ColourSegmenter))
