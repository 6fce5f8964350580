# SPDX-License-Identifier: Apache-2.0
"""Consistency of ids over a sequence with true track ids: STQ (Weber et al. 2021), VPQ (Kim et al. 2020), id switches.

Legend: `T` true and `P` predicted segments of a frame, `C` categories. A tube is a segment over several frames: the
thing with a class and track id, or all the stuff of a class.
"""

import math
from collections import Counter, deque
from typing import Any

import numpy as np

from yoso_ros.errors import InputError
from yoso_ros.evaluation.panoptic_quality import (
    FIRST,
    MATCH_IOU,
    PanopticQuality,
    joint_areas,
    segment_iou,
    summarise,
)

WINDOWS = (1, 2, 3, 4)  # frames of the tubes in VPQ; the paper's k = 0, 5, 10, 15 with every fifth frame labelled


class TrackingQuality:
    """STQ, VPQ and id switches, frame by frame. Memory grows with the number of overlapping tubes, not of frames.

    This is for a single sequence: track ids of the ground truth must not be reused for another thing.

    Args:
        categories: list of dict with `id`, `name` and `isthing` (COCO categories).
        windows: numbers of frames for VPQ.
    """

    def __init__(self, categories: list[dict[str, Any]], windows: tuple[Any, ...] = WINDOWS):
        self._is_thing = {c["id"]: bool(c["isthing"]) for c in categories}
        self._association, self._switches = AssociationQuality(), IdSwitches()
        self._video = VideoPanopticQuality(categories, windows)
        self.frames = 0

    def add(
        self,
        ids: np.ndarray,
        segments: list[dict[str, Any]],
        truth_ids: np.ndarray,
        truth_segments: list[dict[str, Any]],
    ) -> None:
        """Add the next frame: arguments as for `PanopticQuality.update`; things have a `track_id` above 0, crowds none.

        Raises:
            InputError: a thing has no track id, or the maps do not match their segments.
        """
        areas = joint_areas(truth_ids, [s["id"] for s in truth_segments], ids, [s["id"] for s in segments])
        truth = [self._tube(s) for s in truth_segments]
        predicted = [self._tube(s) for s in segments]
        self._association.add(areas, truth, predicted)
        self._switches.add(areas, truth, predicted)
        self._video.add(areas, truth, predicted)
        self.frames += 1

    def _tube(self, segment):
        """(category id, track id): 0 for stuff, -1 for a crowd."""
        category, track = segment["category_id"], segment.get("track_id", 0)
        if segment.get("iscrowd"):
            return category, -1
        if not self._is_thing[category]:
            return category, 0
        if track <= 0:
            raise InputError(f"segment {segment['id']}: expected a track id above 0 for a thing, found {track}")
        return category, track

    def compute(self, mean_iou: float) -> dict[str, Any]:
        """The result so far.

        Args:
            mean_iou: of the same frames, percent.

        Returns:
            dict with "frames"; "STQ", "AQ", "SQ" (percent; STQ is the geometric mean of the association quality AQ and
            of the mean IoU); "VPQ" (mean over the windows), "VPQ_things", "VPQ_stuff", "VPQ_per_window" (window to
            percent); "true_tracks", "predicted_tracks"; and "matches", "id_switches" and "id_consistency_percent" of
            `IdSwitches.compute`.
        """
        aq = self._association.compute()
        return {
            "frames": self.frames,
            "STQ": math.sqrt(aq * mean_iou),
            "AQ": aq,
            "SQ": mean_iou,
            **self._video.compute(),
            "true_tracks": self._association.true_tracks,
            "predicted_tracks": self._association.predicted_tracks,
            **self._switches.compute(),
        }


class AssociationQuality:
    """AQ of STQ (Weber et al., "STEP", NeurIPS 2021, section 4): over whole tracks of things, regardless of class.

    As in the authors' evaluation, predictions on a crowd are ignored, and those on void count.
    """

    def __init__(self):
        self._true, self._predicted, self._shared = Counter(), Counter(), Counter()

    @property
    def true_tracks(self) -> int:
        """Number of true tracks."""
        return len(self._true)

    @property
    def predicted_tracks(self) -> int:
        """Number of predicted tracks."""
        return len(self._predicted)

    def add(self, areas: np.ndarray, truth: list[tuple[int, int]], predicted: list[tuple[int, int]]) -> None:
        """Add a frame: int (2 + T, 2 + P) of `joint_areas`, and (category, track id) of its rows and columns."""
        crowd = np.array([False] * FIRST + [track == -1 for _, track in truth])
        counted = areas[~crowd].sum(axis=0)
        for tube, area in zip(truth, areas[FIRST:].sum(axis=1).tolist(), strict=True):
            if tube[1] > 0:
                self._true[tube] += area
        for tube, area in zip(predicted, counted[FIRST:].tolist(), strict=True):
            if tube[1] > 0 and area:
                self._predicted[tube] += area
        shared = areas[FIRST:, FIRST:]
        for i, j in np.argwhere(shared).tolist():
            if truth[i][1] > 0 and predicted[j][1] > 0:
                self._shared[truth[i], predicted[j]] += int(shared[i, j])

    def compute(self) -> float:
        """AQ in percent, NaN without a true track."""
        if not self._true:
            return float("nan")
        total = sum(
            area**2 / (self._true[t] + self._predicted[p] - area) / self._true[t]
            for (t, p), area in self._shared.items()
        )
        return 100 * total / len(self._true)


class VideoPanopticQuality:
    """VPQ (Kim et al., "Video Panoptic Segmentation", CVPR 2020, section 3.3): PQ of tubes in windows of frames."""

    def __init__(self, categories: list[dict[str, Any]], windows: tuple[Any, ...] = WINDOWS):
        self._quality = PanopticQuality(categories)
        self._totals = {k: np.zeros_like(self._quality.totals) for k in windows}
        self._last = deque(maxlen=max(windows))

    def add(self, areas: np.ndarray, truth: list[tuple[int, int]], predicted: list[tuple[int, int]]) -> None:
        """Add a frame, as for `AssociationQuality.add`; each window of frames counts once, with its last frame."""
        self._last.append((areas, truth, predicted))
        for k, totals in self._totals.items():
            if len(self._last) >= k:
                totals += self._quality.count_areas(*_joined(list(self._last)[-k:]))

    def compute(self) -> dict[str, Any]:
        """Dict with "VPQ", "VPQ_things", "VPQ_stuff" and "VPQ_per_window", see `TrackingQuality.compute`."""
        results = {k: summarise(self._quality.categories, totals) for k, totals in self._totals.items()}
        names = {"VPQ": "All", "VPQ_things": "Things", "VPQ_stuff": "Stuff"}
        means = {name: float(np.mean([r[group]["PQ"] for r in results.values()])) for name, group in names.items()}
        return {**means, "VPQ_per_window": {str(k): r["All"]["PQ"] for k, r in results.items()}}


def _joined(frames):
    """(areas, predicted segments, true segments) of the tubes of some frames, as for `PanopticQuality.count_areas`."""
    rows, columns = ({t: i for i, t in enumerate(dict.fromkeys(t for f in frames for t in f[k]))} for k in (1, 2))
    areas = np.zeros((FIRST + len(rows), FIRST + len(columns)), np.int64)
    for part, truth, predicted in frames:
        at = (
            [*range(FIRST), *(FIRST + rows[t] for t in truth)],
            [*range(FIRST), *(FIRST + columns[p] for p in predicted)],
        )
        np.add.at(areas, np.ix_(*at), part)
    predicted, truth = (
        [{"category_id": category, "iscrowd": track == -1} for category, track in tubes] for tubes in (columns, rows)
    )
    return areas, predicted, truth


class IdSwitches:
    """How often a true thing that is found again has a different id (as in CLEAR MOT, with masks)."""

    def __init__(self):
        self._last, self._matches, self._again, self._switches = {}, 0, 0, 0

    def add(self, areas: np.ndarray, truth: list[tuple[int, int]], predicted: list[tuple[int, int]]) -> None:
        """Add a frame, as for `AssociationQuality.add`."""
        classes = [np.array([c for c, _ in tubes], np.intp) for tubes in (truth, predicted)]
        things = np.array([track > 0 for _, track in truth], bool)
        iou = segment_iou(areas, (classes[0][:, None] == classes[1]) & things[:, None])
        for i, j in np.argwhere(iou > MATCH_IOU).tolist():
            last = self._last.get(truth[i])
            self._again += last is not None
            self._switches += last not in (None, predicted[j])
            self._last[truth[i]] = predicted[j]
            self._matches += 1

    def compute(self) -> dict[str, float]:
        """Dict with "matches" of things, "id_switches", and "id_consistency_percent": of the things that were found
        before and are found again, those with the same id; NaN without any."""
        consistency = 100 * (1 - self._switches / self._again) if self._again else float("nan")
        return {"matches": self._matches, "id_switches": self._switches, "id_consistency_percent": consistency}
