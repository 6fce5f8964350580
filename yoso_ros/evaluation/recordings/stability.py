# SPDX-License-Identifier: Apache-2.0
"""Stability of a sequence of results: changes that should not happen, and a table of the segments found.

Legend: `H W` size of a frame in pixels.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from yoso_ros.results import UNLABELLED_CLASS

if TYPE_CHECKING:
    from yoso_ros.results import PanopticResult, Segment

BLUR = 5  # pixels of a box; sensor noise becomes a fifth
STILL_STEPS = 4  # of 255: a blurred picture that differs by no more in any colour shows the same; 7 sigma of noise 2


class Stability:
    """Statistics of a sequence of results; nearly all work without ground truth."""

    def __init__(self):
        self._last = self._last_count = self._last_blurred = self._last_truth = None
        self._last_tracks = set()
        self._values = {name: array("d") for name in ("unlabelled", "confidence", "class_change", "count", "steps")}
        # Pixels that changed class, and all candidates: where the image is unchanged, and where the ground truth is.
        self._still, self._same_truth, self._tracks = np.zeros(2), np.zeros(2), np.zeros(2)

    def add(
        self, result: PanopticResult, image: np.ndarray | None = None, truth: np.ndarray | None = None
    ) -> dict[str, float]:
        """Add the next frame.

        Args:
            result: `PanopticResult`.
            image: uint8 (H, W, 3), its image; None disables flicker relative to the image.
            truth: uint16 (H, W) panoptic ids or None, its ground truth; None disables flicker relative to it.

        Returns:
            dict of this frame's unlabelled_percent, confidence_percent, class_change_percent, flicker_percent and
            flicker_true_percent, see `compute`; NaN where undefined.
        """
        semantic = result.semantic
        unlabelled = 100 * float(np.mean(semantic == UNLABELLED_CLASS))
        confidence = 100 * float(result.confidence.mean()) / 255
        blurred = None if image is None else cv2.blur(image, (BLUR, BLUR))
        truth = None if truth is None else (truth >> 8).astype(np.uint8)
        tracks = {s.track_id for s in result.segments if s.is_thing and s.track_id}
        change = flicker = flicker_true = float("nan")
        if self._last is not None and self._last.shape == semantic.shape:
            changed = self._last != semantic
            change = 100 * float(np.mean(changed))
            if blurred is not None and self._last_blurred is not None:
                still = cv2.absdiff(blurred, self._last_blurred).max(axis=2) <= STILL_STEPS
                flicker = _share(self._still, changed, still)
            if truth is not None and self._last_truth is not None:
                same = (truth == self._last_truth) & (truth != UNLABELLED_CLASS)
                flicker_true = _share(self._same_truth, changed, same)
            self._values["class_change"].append(change)
            self._values["steps"].append(abs(len(result.segments) - self._last_count))
            self._tracks += len(tracks.intersection(self._last_tracks)), len(tracks)
        self._last, self._last_count = semantic.copy(), len(result.segments)
        self._last_blurred, self._last_truth, self._last_tracks = blurred, truth, tracks
        self._values["unlabelled"].append(unlabelled)
        self._values["confidence"].append(confidence)
        self._values["count"].append(len(result.segments))
        return {
            "unlabelled_percent": unlabelled,
            "confidence_percent": confidence,
            "class_change_percent": change,
            "flicker_percent": flicker,
            "flicker_true_percent": flicker_true,
        }

    def compute(self) -> dict[str, float]:
        """The result over the frames so far, NaN where undefined.

        Returns:
            dict with "class_change_percent": pixels whose class differs from the previous frame, including the camera's
            motion; "flicker_percent": of the pixels where the blurred image is unchanged, those that change class;
            "flicker_true_percent": of the pixels whose true class is unchanged, those that change class;
            "unlabelled_percent"; "confidence_percent"; "segments_per_frame"; "segments_change_per_frame": difference in
            the number of segments from the previous frame; and "tracks_kept_percent": tracked things that keep their id
            from the previous frame.
        """
        mean = {name: float(np.mean(v)) if len(v) else float("nan") for name, v in self._values.items()}
        return {
            "class_change_percent": mean["class_change"],
            "flicker_percent": _percent(*self._still),
            "flicker_true_percent": _percent(*self._same_truth),
            "unlabelled_percent": mean["unlabelled"],
            "confidence_percent": mean["confidence"],
            "segments_per_frame": mean["count"],
            "segments_change_per_frame": mean["steps"],
            "tracks_kept_percent": _percent(*self._tracks),
        }


def _share(sums, changed, where):
    """Add the changed pixels and all candidates to `sums` (2,); returns the share in percent."""
    counts = np.count_nonzero(changed & where), np.count_nonzero(where)
    sums += counts
    return _percent(*counts)


def _percent(part, whole):
    return 100 * float(part) / float(whole) if whole else float("nan")


class SegmentTable:
    """Sums over the segments of each class."""

    def __init__(self):
        self._rows = {}

    def add(self, segments: Sequence[Segment], pixels: int) -> None:
        """Add the segments of a frame with the given number of pixels."""
        for s in segments:
            row = self._rows.setdefault(s.class_id, {"name": s.class_name, "is_thing": s.is_thing, "sums": np.zeros(3)})
            row["sums"] += (1, s.area / pixels, s.score)
        for class_id in {s.class_id for s in segments}:
            self._rows[class_id]["frames"] = self._rows[class_id].get("frames", 0) + 1

    def compute(self, frames: Any) -> list[dict[str, Any]]:
        """One dict per class: name, is_thing, frames (with it), segments, per_frame, area_percent (of all pixels, mean
        over all frames), score (mean)."""
        rows = []
        for _, row in sorted(self._rows.items()):
            count, area, score = row["sums"].tolist()
            rows.append(
                {
                    "name": row["name"],
                    "is_thing": row["is_thing"],
                    "frames": row["frames"],
                    "segments": int(count),
                    "per_frame": count / frames,
                    "area_percent": 100 * area / frames,
                    "score": score / count,
                }
            )
        return rows
