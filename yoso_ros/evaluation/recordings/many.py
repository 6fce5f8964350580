# SPDX-License-Identifier: Apache-2.0
"""The reports of many recordings combined: one row each, and PQ and mIoU over all frames."""

from typing import Any

import numpy as np

from yoso_ros.errors import InputError
from yoso_ros.evaluation.recordings.comparison import measures_of
from yoso_ros.evaluation.recordings.frame_counts import CountsOfFrames

STABILITY = ("class_change_percent", "flicker_percent", "unlabelled_percent", "confidence_percent")


def join_reports(reports: dict[str, dict[str, Any]], counts: Any) -> tuple[dict[str, Any], Any]:
    """Combine reports.

    Args:
        reports: dict of name to the recording's report, see `evaluate_recording`.
        counts: dict of name to its `CountsOfFrames`, for those with ground truth.

    Returns:
        (dict with "recordings": list of dict per recording: name, bag, frames, undecodable, p50_ms, p95_ms, the names
        of `STABILITY`, PQ, PQ_things, PQ_stuff and mIoU (percent, NaN without ground truth); "frames": total;
        "measures": over all frames with ground truth, by name, and "per_class": list of dict: name, is_thing, pq, iou
        (percent); both are missing without ground truth; `CountsOfFrames` of all, frames named NAME/FRAME, or None).

    Raises:
        InputError: the ground truth of the recordings has different classes.
    """
    rows = [_row(name, report) for name, report in reports.items()]
    joint = {"recordings": rows, "frames": sum(row["frames"] for row in rows)}
    if not counts:
        return joint, None
    together = _together(counts)
    measures = measures_of(together.panoptic.sum(axis=0), together.semantic.sum(axis=0), together.is_thing)
    joint["frames_with_truth"] = len(together.names)
    joint["measures"] = {name: float(value) for name, value in measures.means.items()}
    columns = zip(together.classes.tolist(), together.is_thing.tolist(), measures.pq, measures.iou, strict=True)
    joint["per_class"] = [
        {"name": name, "is_thing": is_thing, "pq": float(pq), "iou": float(iou)} for name, is_thing, pq, iou in columns
    ]
    return joint, together


def _together(counts):
    first = next(iter(counts.values()))
    for name, other in counts.items():
        if not np.array_equal(first.classes, other.classes):
            raise InputError(f"{name}: expected truth with the classes of {next(iter(counts))}; evaluate it by itself")
    names = [f"{recording}/{frame}" for recording, one in counts.items() for frame in one.names.tolist()]
    arrays = (np.concatenate([getattr(c, name) for c in counts.values()]) for name in ("panoptic", "semantic"))
    return CountsOfFrames(np.array(names, dtype=np.str_), first.classes, first.is_thing, *arrays)


def _row(name, report):
    quality = report.get("panoptic_quality", {})
    nothing = float("nan")
    row = {
        "name": name,
        "bag": report["bag"],
        "frames": report["frames"]["evaluated"],
        "undecodable": report["frames"]["undecodable"],
        "p50_ms": report["latency_ms"]["total"]["p50"],
        "p95_ms": report["latency_ms"]["total"]["p95"],
    }
    row |= {key: report["stability"][key] for key in STABILITY}
    row |= {"PQ": quality.get("All", {}).get("PQ", nothing), "PQ_things": quality.get("Things", {}).get("PQ", nothing)}
    row |= {"PQ_stuff": quality.get("Stuff", {}).get("PQ", nothing), "mIoU": report.get("mean_iou", nothing)}
    return {key: nothing if value is None else value for key, value in row.items()}  # JSON has no NaN
