# SPDX-License-Identifier: Apache-2.0
"""Streaming PQ: by hand, without latency, and with a latency of whole frames; counts and times of a live run."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from yoso_ros.bags.labels import LabelFrame
from yoso_ros.errors import InputError
from yoso_ros.evaluation.recordings.frame_counts import FrameCounts
from yoso_ros.evaluation.recordings.live import DELAYS, Play, per_frame, play_accuracy, play_numbers
from yoso_ros.evaluation.recordings.replay import evaluate_recording
from yoso_ros.evaluation.recordings.streaming import answers_in_use, score_answers
from yoso_ros.evaluation.recordings.truth import TruthScores
from yoso_ros.label_sets import load_label_set
from yoso_ros.results import UNLABELLED_ID, PanopticResult, segments_of

LABELS = load_label_set("camvid")
STUFF = next(i for i, c in enumerate(LABELS.classes) if not c.is_thing)
THING = LABELS.thing_ids[0]
PERIOD_S = 0.1
NEVER = float("nan")


def label(stamp, panoptic):
    return LabelFrame(stamp, panoptic, segments_of(panoptic, LABELS))


def scene(index, size=16, shift=0):
    """A thing that moves two pixels a frame over stuff."""
    panoptic = np.full((20, 60), STUFF << 8, np.uint16)
    left = 6 + 2 * index + shift
    panoptic[5:15, left : left + size] = THING << 8 | 1
    return panoptic


def truth_of(count):
    return [label(1000 + i, scene(i)) for i in range(count)]


def said(count, stamps=7000):
    """Answers that lag by three pixels, and in the third frame lack the thing."""
    maps = [scene(i, shift=-3) if i != 2 else np.full((20, 60), STUFF << 8, np.uint16) for i in range(count)]
    return [label(stamps + i, panoptic) for i, panoptic in enumerate(maps)]


def a_play(count, arrived_s, counts=None):
    moments = PERIOD_S * np.arange(count)
    counts = counts or {"received": count, "processed": count, "dropped": 0, "failed": 0}
    return Play(7000 + np.arange(count), 1000 + np.arange(count), moments, np.asarray(arrived_s, float), counts)


def scored(pairs):
    """PQ and mIoU of (answer, truth) pairs, one after the other."""
    scores = TruthScores(LABELS, LABELS)
    for number, (answer, truth) in enumerate(pairs):
        scores.add(answer, truth, str(number))
    return scores.scores.compute()


def same(report, expected):
    np.testing.assert_equal(report["panoptic_quality"], expected["panoptic_quality"])
    assert report["mean_iou"] == expected["mean_iou"]


def test_the_answer_in_use_by_hand():
    # Frames 0 to 5 at 0, 1, ... 5; frame 1 and 4 have no answer, that of frame 3 overtakes that of frame 2.
    arrivals = [1.5, NEVER, 4.2, 4.0, NEVER, 9.0]
    assert answers_in_use([0, 1, 1.5, 2, 3.9, 4, 4.1, 4.2, 5, 100], arrivals).tolist() == [
        *(-1, -1, 0, 0, 0),
        *(3, 3, 3, 3, 5),
    ]
    assert answers_in_use([0.0, 1.0], [NEVER, NEVER]).tolist() == [-1, -1]
    assert answers_in_use([], [1.0]).tolist() == []


def test_the_answer_in_use_is_that_of_a_literal_loop():
    random = np.random.default_rng(3)
    for _ in range(50):
        arrivals = np.arange(12) + random.exponential(2.0, 12)
        arrivals[random.random(12) < 0.3] = np.nan
        moments = np.sort(random.uniform(0, 16, 9))
        expected = [max([i for i in range(12) if arrivals[i] <= moment], default=-1) for moment in moments]
        assert answers_in_use(moments, arrivals).tolist() == expected


class Known:
    """A segmenter that gives its answers in order."""

    label_set = LABELS

    def __init__(self, answers):
        self._answers = iter(answers)

    def __call__(self, image):
        panoptic = next(self._answers).panoptic
        semantic = (panoptic >> 8).astype(np.uint8)
        return PanopticResult(panoptic, semantic, semantic, segments_of(panoptic, LABELS), {})


def test_without_latency_streaming_is_the_offline_number():
    truth, answers = truth_of(6), said(6)
    frames = [SimpleNamespace(stamp_ns=t.stamp_ns, image=None) for t in truth]
    offline = evaluate_recording(Known(answers), frames, lambda image: image, truth, LABELS, progress=False)
    report = play_accuracy(a_play(6, PERIOD_S * np.arange(6)), truth, answers, LABELS, LABELS, progress=False)
    assert 20 < offline["panoptic_quality"]["All"]["PQ"] < 95
    for name in ("answered", "streaming"):
        same(report[name], offline)
        assert report[name]["images"] == 6
        assert list(report[name]["PQ_per_frame"].values()) == [row["PQ"] for row in offline["per_frame"]]
    assert report["by_delay"][0]["PQ"] == offline["panoptic_quality"]["All"]["PQ"]


@pytest.mark.parametrize("late", [1, 2, 4])
def test_a_latency_of_whole_frames_shifts_the_pairs(late):
    truth, answers = truth_of(6), said(6)
    # A little less than so many frames, so that rounding does not decide.
    arrived = PERIOD_S * (np.arange(6) + late) - 1e-6
    report = play_accuracy(a_play(6, arrived), truth, answers, LABELS, LABELS, progress=False)
    nothing = label(0, np.full((20, 60), UNLABELLED_ID, np.uint16))
    pairs = list(zip([nothing] * late + answers, truth, strict=False))
    assert len(pairs) == 6
    same(report["streaming"], scored(pairs))
    same(report["answered"], scored(zip(answers, truth, strict=True)))
    streaming, own = (report[n]["panoptic_quality"]["All"]["PQ"] for n in ("streaming", "answered"))
    assert streaming < own


def test_the_curve_over_latency_is_that_of_shifted_pairs():
    truth, answers = truth_of(6), said(6)
    report = play_accuracy(a_play(6, np.full(6, 99.0)), truth, answers, LABELS, LABELS, progress=False)
    nothing = label(0, np.full((20, 60), UNLABELLED_ID, np.uint16))
    assert [row["delay_ms"] for row in report["by_delay"]] == pytest.approx([1e3 * PERIOD_S * k for k in DELAYS])
    for row, late in zip(report["by_delay"], DELAYS, strict=True):
        assert row["delay_frames"] == late
        pairs = zip([nothing] * late + answers, truth, strict=False)
        assert row["PQ"] == scored(pairs)["panoptic_quality"]["All"]["PQ"]


def test_a_fast_bad_model_can_beat_a_slow_good_one():
    truth = truth_of(12)
    perfect = [label(7000 + i, t.panoptic) for i, t in enumerate(truth)]
    slow = play_accuracy(a_play(12, PERIOD_S * (np.arange(12) + 3.5)), truth, perfect, LABELS, LABELS, progress=False)
    near = [label(7000 + i, scene(i, shift=1)) for i in range(12)]
    fast = play_accuracy(a_play(12, PERIOD_S * (np.arange(12) + 0.01)), truth, near, LABELS, LABELS, progress=False)
    quality = {
        (speed, name): report[name]["panoptic_quality"]["All"]["PQ"]
        for speed, report in (("slow", slow), ("fast", fast))
        for name in ("answered", "streaming")
    }
    assert quality["slow", "answered"] == 100 > quality["fast", "answered"]
    assert quality["slow", "streaming"] < quality["fast", "streaming"]


def test_frames_without_an_answer_or_truth():
    truth, answers = truth_of(6), said(6)
    arrived = [0.05, NEVER, NEVER, 0.38, NEVER, NEVER]
    some = [truth[i] for i in (0, 2, 3, 5)]
    answers = [answers[0], answers[3]]
    play, counts = a_play(6, arrived), FrameCounts(LABELS)
    report = play_accuracy(play, some, answers, LABELS, LABELS, progress=False, frame_counts=counts)
    same(report["answered"], scored([(answers[0], truth[0]), (answers[1], truth[3])]))
    nothing = label(0, np.full((20, 60), UNLABELLED_ID, np.uint16))
    pairs = [(nothing, truth[0]), (answers[0], truth[2]), (answers[0], truth[3]), (answers[1], truth[5])]
    same(report["streaming"], scored(pairs))
    # What is kept for the comparison of runs adds up to the streaming numbers.
    kept = counts.compute()
    assert kept.names.tolist() == ["1000", "1002", "1003", "1005"]
    for row, sums in zip(report["streaming"]["per_class"], kept.panoptic.sum(axis=0).tolist(), strict=True):
        assert [row[key] for key in ("tp", "fp", "fn")] == sums[1:] and row["iou"] == pytest.approx(sums[0])
    rows = per_frame(play, report)
    assert [math.isnan(r["PQ"]) for r in rows] == [False, True, True, False, True, True]
    assert [math.isnan(r["streaming_PQ"]) for r in rows] == [False, True, False, False, True, False]
    assert rows[3]["latency_ms"] == pytest.approx(80) and rows[3]["published_s"] == pytest.approx(0.3)
    assert rows[3]["stamp_ns"] == 1003
    assert play_accuracy(a_play(6, [NEVER] * 6), truth, [], LABELS, LABELS, progress=False) == {}


def test_answers_that_complete_in_another_order():
    truth, answers = truth_of(5), said(5)
    order = [answers[i] for i in (1, 0, 2, 4, 3)]
    quality = score_answers(
        TruthScores(LABELS, LABELS), enumerate(truth), ((a.stamp_ns - 7000, a) for a in order), range(5)
    )
    expected = score_answers(TruthScores(LABELS, LABELS), enumerate(truth), enumerate(answers), range(5))
    assert quality == expected and len(quality) == 5
    with pytest.raises(ValueError, match="no answer to frame 3"):
        score_answers(TruthScores(LABELS, LABELS), enumerate(truth), enumerate(answers[:3]), range(5))


def test_classes_of_another_model_are_one_line():
    truth, answers = truth_of(2), said(2)
    turned = [label(a.stamp_ns, a.panoptic) for a in answers]
    turned[0].segments[0] = SimpleNamespace(class_id=STUFF, class_name="sofa")
    with pytest.raises(InputError, match="'sofa'.*--model"):
        play_accuracy(a_play(2, [0, 0.1]), truth, turned, LABELS, LABELS, progress=False)


def test_counts_and_times_by_hand():
    counts = {"received": 5, "processed": 4, "dropped": 1, "failed": 0}
    # Of six frames one never came to the node, one was dropped, and one answer was lost on the way back.
    play = a_play(6, [0.04, NEVER, 0.26, NEVER, 0.44, NEVER], counts)
    numbers = play_numbers(play)
    assert numbers["frames"] == {
        "played": 6,
        **counts,
        "answered": 3,
        "lost_in": 1,
        "lost_out": 1,
        "unanswered_percent": 50.0,
    }
    assert numbers["latency_ms"]["mean"] == pytest.approx((40 + 60 + 40) / 3)
    assert numbers["latency_ms"]["p50"] == pytest.approx(40) and numbers["latency_ms"]["max"] == pytest.approx(60)
    assert numbers["interval_ms"]["mean"] == pytest.approx((220 + 180) / 2)
    assert numbers["jitter_ms"] == pytest.approx(20)
    # From the second frame on there is an answer: to frame 0 at 0.1 and 0.2, to frame 2 at 0.3 and 0.4, then to 4.
    assert numbers["age_ms"]["mean"] == pytest.approx((100 + 200 + 100 + 200 + 100) / 5)
    nothing = play_numbers(a_play(3, [NEVER] * 3, dict.fromkeys(counts, 0)))
    assert nothing["frames"]["lost_in"] == 3 and math.isnan(nothing["jitter_ms"])
    assert all(math.isnan(v) for name in ("latency_ms", "interval_ms", "age_ms") for v in nothing[name].values())
