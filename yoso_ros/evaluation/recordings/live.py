# SPDX-License-Identifier: Apache-2.0
"""Results of playing a recording to a running node: what came back, when, and how accurate it was by then.

Legend: `N` played frames.
"""

from __future__ import annotations

import contextlib
import heapq
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from yoso_ros.errors import InputError
from yoso_ros.evaluation.recordings.replay import PERCENTILES, ReplayedFrame
from yoso_ros.evaluation.recordings.streaming import answers_in_use, score_answers
from yoso_ros.evaluation.recordings.truth import TruthScores

if TYPE_CHECKING:
    from yoso_ros.bags.labels import LabelFrame
    from yoso_ros.evaluation.recordings.frame_counts import FrameCounts
    from yoso_ros.label_sets import LabelSet

DELAYS = (0, 1, 2, 4)  # in frames, for the curve of accuracy against latency


@dataclass(frozen=True)
class Play:
    """The outcome of each frame.

    Attributes:
        stamps_ns: int64 (N,), the stamps they were played with; recorded_ns: int64 (N,), those of the recording.
        published_s: float (N,); arrived_s: float (N,), when the answer was complete, NaN for none; on the same clock.
        counts: dict of int, the node's own: received, processed, dropped, failed.
    """

    stamps_ns: np.ndarray
    recorded_ns: np.ndarray
    published_s: np.ndarray
    arrived_s: np.ndarray
    counts: dict

    @property
    def answered(self) -> np.ndarray:
        """bool (N,)."""
        return np.isfinite(self.arrived_s)


def play_numbers(play: Play) -> dict[str, Any]:
    """Counts and times of a `Play`.

    Returns:
        dict with
        "frames": {"played", "received", "processed", "dropped", "failed", "answered", "lost_in", "lost_out",
        "unanswered_percent"}; played = lost_in + processed + dropped + failed, processed = answered + lost_out,
        "latency_ms": from publishing to receipt of the last label topic, over the answered frames,
        "interval_ms": between arrivals of answers, "jitter_ms": its standard deviation,
        "age_ms": at the time of each frame, time since the frame of the newest available answer was published;
        each of the three {"mean", "p50", "p95", "p99", "max"}, NaN if there is none.
    """
    answered, counts = play.answered, play.counts
    total, whole = len(answered), int(answered.sum())
    intervals = 1e3 * np.diff(np.sort(play.arrived_s[answered]))
    in_use = answers_in_use(play.published_s, play.arrived_s)
    known = in_use >= 0
    return {
        "frames": {
            "played": total,
            **counts,
            "answered": whole,
            "lost_in": total - counts["received"],
            "lost_out": counts["processed"] - whole,
            "unanswered_percent": 100 * (1 - whole / total),
        },
        "latency_ms": summary(1e3 * (play.arrived_s - play.published_s)[answered]),
        "interval_ms": summary(intervals),
        "jitter_ms": float(np.std(intervals)) if intervals.size else float("nan"),
        "age_ms": summary(1e3 * (play.published_s[known] - play.published_s[in_use[known]])),
    }


def summary(values: np.ndarray) -> dict[str, float]:
    """Mean, percentiles and maximum of numbers: dict of float, NaN without any."""
    if not len(values):
        return dict.fromkeys(("mean", *(f"p{p}" for p in PERCENTILES), "max"), float("nan"))
    percentiles = {f"p{p}": float(np.percentile(values, p)) for p in PERCENTILES}
    return {"mean": float(np.mean(values)), **percentiles, "max": float(np.max(values))}


def play_accuracy(
    play: Play,
    truth: list[LabelFrame],
    answers: Any,
    model_labels: LabelSet,
    label_set: LabelSet,
    progress: bool = True,
    frame_counts: FrameCounts | None = None,
) -> dict[str, Any]:
    """Accuracy of the answers, both on their own frames and as available to a robot.

    Args:
        play: `Play`.
        truth: `Labels`, or another re-iterable of `LabelFrame`, with the recording's stamps.
        answers: the same for the answers, with the stamps they were played with.
        model_labels: `LabelSet` of the answers. label_set: `LabelSet` of the ground truth.
        progress: whether to show a progress bar.
        frame_counts: `FrameCounts` to be filled with the frames of the streaming accuracy, by their stamps.

    Returns:
        dict with
        "answered": PQ and mIoU of the answers, each against the ground truth of its own frame, as in `Scores.compute`,
        with "images", their number, "confusion" of `TruthScores.confusion`, and "PQ_per_frame", dict of frame number to
        percent,
        "streaming": the same for the newest answer at the time of each frame with ground truth, unlabelled before the
        first,
        "by_delay": list of {"delay_frames", "delay_ms", "PQ"}: the streaming PQ if every answer had been that many
        frames late, "delay_ms" from their mean distance in time;
        empty dict if no played frame has ground truth or the node answered none.

    Raises:
        InputError: ground truth or answers do not match their label sets.
    """
    number = {int(stamp): i for i, stamp in enumerate(play.recorded_ns)}
    played = {int(stamp): i for i, stamp in enumerate(play.stamps_ns)}
    answered, own = play.answered, np.arange(len(play.stamps_ns))

    def score(choice, only_answered=False, counted=None):
        scores = TruthScores(model_labels, label_set)
        pairs = ((number[label.stamp_ns], label) for label in truth if label.stamp_ns in number)
        chosen = ((i, label) for i, label in pairs if answered[i] or not only_answered)
        said = ((played[a.stamp_ns], _checked(a, model_labels)) for a in answers if a.stamp_ns in played)
        said = ((i, a) for i, a in said if answered[i])
        quality = score_answers(_Counted(scores, counted) if counted else scores, bar(chosen), said, choice)
        if not scores.count:
            return None
        more = {"confusion": scores.confusion(), "PQ_per_frame": quality}
        return {"images": scores.count, **scores.scores.compute(), **more}

    def bar(pairs):
        return tqdm(pairs, total=len(own), unit="frame", desc="accuracy", leave=False, disable=not progress)

    first = score(own, only_answered=True)
    if first is None:
        return {}
    report = {
        "answered": first,
        "streaming": score(answers_in_use(play.published_s, play.arrived_s), counted=frame_counts),
        "by_delay": [],
    }
    period_ms = 1e3 * float(play.published_s[-1] - play.published_s[0]) / max(1, len(own) - 1)
    for delay in DELAYS:
        result = score(answers_in_use(own, np.where(answered, own + delay, np.nan)))
        report["by_delay"].append(
            {"delay_frames": delay, "delay_ms": delay * period_ms, "PQ": result["panoptic_quality"]["All"]["PQ"]}
        )
    return report


def add_worst_answers(
    worst: Any,
    play: Play,
    quality: dict[int, float],
    frames: Iterable[Any],
    decode: Callable[..., Any],
    truth: Any,
    answers: Any,
) -> None:
    """Fill `WorstFrames` with the answered frames of lowest PQ, in another pass over the recording.

    Args:
        worst: `WorstFrames`. play: `Play`.
        quality: "PQ_per_frame" of the answers.
        frames: the recording's frames, with `stamp_ns` and `image`.
        decode: callable from a frame's image to uint8 (H, W, 3) RGB; raises `InputError` if it cannot.
        truth, answers: as for `play_accuracy`.
    """
    known = {i: pq for i, pq in quality.items() if not math.isnan(pq)}
    chosen = set(heapq.nsmallest(worst.count, known, key=known.__getitem__))

    def of_chosen(items, stamps):
        number = {stamp: i for i, stamp in enumerate(stamps.tolist()) if i in chosen}
        return {number[item.stamp_ns]: item for item in items if item.stamp_ns in number}

    true, said = of_chosen(truth, play.recorded_ns), of_chosen(answers, play.stamps_ns)
    for i, frame in sorted(of_chosen(frames, play.recorded_ns).items()):
        with contextlib.suppress(InputError):  # the node has answered it, so it may support more encodings
            image = decode(frame.image)
            worst.add(ReplayedFrame(i, frame.stamp_ns, image, said[i], true[i], known[i], {}))


def per_frame(play: Play, accuracy: dict[str, Any]) -> list[dict[str, float]]:
    """One row of plain numbers per frame: list of dict.

    Keys: index, stamp_ns (recorded), published_s (since the first), latency_ms, and with ground truth PQ and
    streaming_PQ in percent; NaN if there is none. `accuracy` is the result of `play_accuracy`, or empty.
    """
    rows, nan = [], float("nan")
    latency = 1e3 * (play.arrived_s - play.published_s)
    for i, stamp in enumerate(play.recorded_ns.tolist()):
        row = {"index": i, "stamp_ns": stamp, "published_s": float(play.published_s[i] - play.published_s[0])}
        row["latency_ms"] = float(latency[i])
        if accuracy:
            row["PQ"] = accuracy["answered"]["PQ_per_frame"].get(i, nan)
            row["streaming_PQ"] = accuracy["streaming"]["PQ_per_frame"].get(i, nan)
        rows.append(row)
    return rows


class _Counted:
    """`TruthScores` that keep the counts of each frame."""

    def __init__(self, scores, frame_counts):
        self._scores, self._frame_counts = scores, frame_counts

    def add(self, result, label, where):
        pq = self._scores.add(result, label, where)
        self._frame_counts.add(label.stamp_ns, *self._scores.scores.last)
        return pq


def _checked(answer, model_labels):
    classes = model_labels.classes
    for s in answer.segments:
        if s.class_id >= len(classes) or classes[s.class_id].name != s.class_name:
            raise InputError(
                f"the node has class {s.class_id} {s.class_name!r}, which is a different one in the label set "
                f"{model_labels.name}; give the model that it runs with --model"
            )
    return answer
