# SPDX-License-Identifier: Apache-2.0
"""What a sequence of results says without truth: how much changes from frame to frame, and what is found."""

from array import array

import numpy as np

from yoso_ros.results import UNLABELLED_CLASS


class Stability:
    """Numbers about a sequence of results that need no truth."""

    def __init__(self):
        self._last, self._last_count = None, None
        self._values = {name: array("d") for name in ("unlabelled", "confidence", "class_change", "count", "steps")}

    def add(self, result):
        """Add the next frame's `PanopticResult`; returns its unlabelled, confidence and class_change, in percent."""
        semantic = result.semantic
        unlabelled = 100 * float(np.mean(semantic == UNLABELLED_CLASS))
        confidence = 100 * float(result.confidence.mean()) / 255
        change = float("nan")
        if self._last is not None and self._last.shape == semantic.shape:
            change = 100 * float(np.mean(self._last != semantic))
            self._values["class_change"].append(change)
            self._values["steps"].append(abs(len(result.segments) - self._last_count))
        self._last, self._last_count = semantic.copy(), len(result.segments)
        self._values["unlabelled"].append(unlabelled)
        self._values["confidence"].append(confidence)
        self._values["count"].append(len(result.segments))
        return {"unlabelled_percent": unlabelled, "confidence_percent": confidence, "class_change_percent": change}

    def compute(self):
        """Means over the frames, NaN where there is none.

        Returns:
            dict with "class_change_percent": pixels whose class is another one than in the frame before, the camera's
            motion included; "unlabelled_percent"; "confidence_percent"; "segments_per_frame"; and
            "segments_change_per_frame": difference in the number of segments to the frame before.
        """
        mean = {name: float(np.mean(v)) if len(v) else float("nan") for name, v in self._values.items()}
        return {
            "class_change_percent": mean["class_change"],
            "unlabelled_percent": mean["unlabelled"],
            "confidence_percent": mean["confidence"],
            "segments_per_frame": mean["count"],
            "segments_change_per_frame": mean["steps"],
        }


class SegmentTable:
    """Sums over the segments of each class."""

    def __init__(self):
        self._rows = {}

    def add(self, segments, pixels):
        """Add the segments of a frame of so many pixels."""
        for s in segments:
            row = self._rows.setdefault(s.class_id, {"name": s.class_name, "is_thing": s.is_thing, "sums": np.zeros(3)})
            row["sums"] += (1, s.area / pixels, s.score)
        for class_id in {s.class_id for s in segments}:
            self._rows[class_id]["frames"] = self._rows[class_id].get("frames", 0) + 1

    def compute(self, frames):
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
