# SPDX-License-Identifier: Apache-2.0
"""A segmenter on every frame of a recording: stability, times and, if it has ground truth, accuracy.

Legend: `H W` size of a frame in pixels.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from yoso_ros.bags.labels import LabelFrame
from yoso_ros.errors import InputError
from yoso_ros.evaluation.recordings.stability import SegmentTable, Stability
from yoso_ros.evaluation.recordings.truth import RecordingTruth
from yoso_ros.results import PanopticResult
from yoso_ros.tracking import SegmentTracker

if TYPE_CHECKING:
    from yoso_ros.evaluation.recordings.distance import DistanceBands
    from yoso_ros.evaluation.recordings.frame_counts import FrameCounts
    from yoso_ros.label_sets import LabelSet

PERCENTILES = (50, 95, 99)
MAX_REASONS = 5  # of frames that cannot be decoded, kept for the report


@dataclass(frozen=True, slots=True)
class ReplayedFrame:
    """The data of one frame.

    Attributes:
        index: index in the recording, from 0. stamp_ns: nanoseconds.
        image: uint8 (H, W, 3) RGB.
        result: `PanopticResult`, with the model's classes.
        truth: `LabelFrame` or None, with the classes of the ground truth's label set.
        pq: percent, NaN without ground truth.
        row: dict of plain numbers, the frame's row in the report.
    """

    index: int
    stamp_ns: int
    image: np.ndarray
    result: PanopticResult
    truth: LabelFrame | None
    pq: float
    row: dict


def with_truth(frames: Iterable[Any], labels: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Pair frames with labels of the same stamp: yields (frame, `LabelFrame` or None) for each frame.

    Both have ascending stamps; late labels are skipped. Holds one of each at a time.
    """
    labels = iter(labels)
    label = next(labels, None)
    for frame in frames:
        while label is not None and label.stamp_ns < frame.stamp_ns:
            label = next(labels, None)
        yield frame, label if label is not None and label.stamp_ns == frame.stamp_ns else None


def evaluate_recording(
    segmenter: Any,
    source: Any,
    decode: Callable[..., Any],
    labels: Any = (),
    label_set: LabelSet | None = None,
    observe: Callable[..., Any] = lambda frame: None,
    progress: bool = True,
    *,
    depth: Any = None,
    bands: DistanceBands | None = None,
    frame_counts: FrameCounts | None = None,
    tracker: Any = None,
) -> dict[str, Any] | None:
    """Run a segmenter over every frame of a recording, in order, without dropping any.

    Args:
        segmenter: `Segmenter`, or another callable from uint8 (H, W, 3) RGB to `PanopticResult` with a `label_set`.
        source: frames with `len()`, as returned by `yoso_ros.bags.open_source`.
        decode: callable from a frame's image to uint8 (H, W, 3) RGB; raises `InputError` if it cannot.
        labels: iterable of `LabelFrame`, the ground truth; empty for none.
        label_set: `LabelSet` of the ground truth's class ids; None without ground truth.
        observe: called with each `ReplayedFrame`.
        progress: whether to show a progress bar.
        depth: has `at(stamp_ns)`, float32 (H, W) metres or None, like `yoso_ros.bags.depth.NearestDepth`; or None.
        bands: `DistanceBands` to be filled; used with `depth` and ground truth.
        frame_counts: `FrameCounts` to be filled with the frames that have ground truth, by their stamps.
        tracker: has `update(result, stamp_ns)`, like `SegmentTracker`, which is the default.

    Returns:
        dict with
        "frames": {"in_recording", "evaluated", "undecodable", "with_truth"},
        "undecodable": list of str, the first reasons,
        "latency_ms": stage to {"mean", "p50", "p95", "p99", "max"}; decode, preprocess, inference, postprocess, total,
        "stability": see `Stability.compute`,
        "segments": list of dict per class found by the model, see `SegmentTable.compute`,
        "per_frame": list of dict: index, stamp_ns, latency_ms, segments, unlabelled_percent, confidence_percent,
        class_change_percent, flicker_percent, flicker_true_percent, PQ (NaN where undefined),
        "tracking_ms": mean time of the tracker per frame, which is not part of the latency,
        and with ground truth "images", "panoptic_quality", "mean_iou" and "per_class" of `evaluate_segmenter` and
        "confusion": {"classes", "matrix"}, pixels by true class (row) and predicted class (column), last unlabelled;
        with track ids in the ground truth "tracking": see `TrackingQuality.compute`; with depth "distance": see
        `DistanceBands.compute`.

    Raises:
        InputError: no frame can be used, or the ground truth does not match the frames, the label set or the model.
    """
    truth = None
    if label_set is not None:
        truth = RecordingTruth(segmenter.label_set, label_set, depth, bands, frame_counts)
    clock, stability, table, per_frame, faults = _Clock(), Stability(), SegmentTable(), [], []
    tracker, tracking = tracker or SegmentTracker(), array("d")
    undecodable = 0
    bar = tqdm(with_truth(source, labels), total=len(source), unit="frame", desc="evaluate", disable=not progress)
    for index, (frame, label) in enumerate(bar):
        begin = time.perf_counter()
        try:
            image = decode(frame.image)
        except InputError as error:
            undecodable += 1
            faults += [f"frame {index}: {error}"][: MAX_REASONS - len(faults)]
            continue
        decoded = time.perf_counter()
        result = segmenter(image)
        end = time.perf_counter()
        clock.add(1e3 * (decoded - begin), result.timings_ms, 1e3 * (end - begin))
        result = tracker.update(result, frame.stamp_ns)
        tracking.append(1e3 * (time.perf_counter() - end))
        pq, is_true = float("nan"), truth is not None and label is not None
        if is_true:
            pq = truth.add(result, label, f"frame {index}")
        table.add(result.segments, result.panoptic.size)
        row = {"index": index, "stamp_ns": frame.stamp_ns, "latency_ms": 1e3 * (end - begin)}
        row |= {"segments": len(result.segments), "PQ": pq}
        row |= stability.add(result, image, label.panoptic if is_true else None)
        per_frame.append(row)
        observe(ReplayedFrame(index, frame.stamp_ns, image, result, label, pq, row))
        if truth and truth.scores.count:
            bar.set_postfix(PQ=f"{truth.scores.scores.pq:.2f}", refresh=False)
    if not per_frame:
        raise InputError(f"no frame could be evaluated; {faults[0] if faults else 'the recording has none'}")
    report = {
        "frames": {
            "in_recording": len(per_frame) + undecodable,
            "evaluated": len(per_frame),
            "undecodable": undecodable,
            "with_truth": truth.scores.count if truth else 0,
        },
        "undecodable": faults,
        "latency_ms": clock.compute(),
        "stability": stability.compute(),
        "segments": table.compute(len(per_frame)),
        "per_frame": per_frame,
        "tracking_ms": float(np.mean(tracking)),
    }
    return report | truth.compute() if truth and truth.scores.count else report


class _Clock:
    """Times of the frames by stage."""

    def __init__(self):
        self._stages = {}

    def add(self, decode, stages, total):
        for name, value in {"decode": decode, **stages, "total": total}.items():
            self._stages.setdefault(name, array("d")).append(value)

    def compute(self):
        return {
            name: {
                "mean": float(np.mean(values)),
                **{f"p{p}": float(np.percentile(values, p)) for p in PERCENTILES},
                "max": max(values),
            }
            for name, values in self._stages.items()
        }
