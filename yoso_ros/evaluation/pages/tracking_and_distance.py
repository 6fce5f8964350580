# SPDX-License-Identifier: Apache-2.0
"""The tables of a replay's report that only some recordings have: tracking and distance."""

from typing import Any

from yoso_ros.evaluation.pages.page import number

TRACKING_NAMES = {
    "STQ": "STQ, segmentation and tracking quality (geometric mean of AQ and SQ)",
    "AQ": "AQ, association of things over the whole recording",
    "SQ": "SQ, mean IoU",
    "VPQ": "VPQ, mean over windows",
    "VPQ_things": "VPQ of things",
    "VPQ_stuff": "VPQ of stuff",
    "id_consistency_percent": "things found again that keep their id, %",
}
COUNT_NAMES = {"id_switches": "id switches", "true_tracks": "true tracks", "predicted_tracks": "predicted tracks"}
BAND_NAMES = {
    "PQ": "PQ",
    "RQ": "RQ",
    "PQ_things": "PQ things",
    "PQ_stuff": "PQ stuff",
    "recall": "recall",
    "mean_iou": "mIoU",
}


def extra_tables(report: dict[str, Any]) -> list[Any]:
    """List of (title, head, rows), all text, for the tables present in a report of `evaluate_recording`."""
    tables: list[Any] = []
    if "tracking" in report:
        tracking = report["tracking"]
        rows = [(text, number(tracking[name])) for name, text in TRACKING_NAMES.items()]
        rows += [(f"VPQ, windows of {k}", number(value)) for k, value in tracking["VPQ_per_window"].items()]
        rows += [(text, str(tracking[name])) for name, text in COUNT_NAMES.items()]
        tables.append(("Tracking", ("tracking", "value"), rows))
    if "distance" in report:
        head = ("distance", *BAND_NAMES.values(), "true segments", "pixels")
        rows = [
            (
                band["name"],
                *(number(band[name]) for name in BAND_NAMES),
                str(band["true_segments"]),
                str(band["pixels"]),
            )
            for band in report["distance"]
        ]
        tables.append(("By distance", head, rows))
    return tables
