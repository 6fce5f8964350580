# SPDX-License-Identifier: Apache-2.0
"""STQ, VPQ and id switches against the formulas of the papers, written out pixel by pixel."""

import math
from collections import defaultdict

import numpy as np
import pytest

from yoso_ros.errors import InputError
from yoso_ros.evaluation import PanopticQuality
from yoso_ros.evaluation.recordings.tracking_quality import TrackingQuality

CATEGORIES = [
    {"id": 1, "name": "floor", "isthing": 0},
    {"id": 2, "name": "box", "isthing": 1},
    {"id": 3, "name": "person", "isthing": 1},
]


def frame(pixels, crowds=()):
    """(ids, segments) of an int (H, W, 2) array of category (0 = void) and track id."""
    ids, segments = np.zeros(pixels.shape[:2], np.int32), []
    for number, (category, track) in enumerate(np.unique(pixels.reshape(-1, 2), axis=0).tolist(), start=7):
        if category:
            ids[(pixels == (category, track)).all(axis=2)] = number
            crowd = (category, track) in crowds
            segments.append({"id": number, "category_id": category, "track_id": track, "iscrowd": int(crowd)})
    return ids, segments


def random_sequence(seed, count=6, shape=(12, 15)):
    """Frames with truth and a prediction that is the truth with other ids, holes and mistakes."""
    random = np.random.default_rng(seed)
    frames = []
    for step in range(count):
        truth = np.zeros((*shape, 2), int)
        truth[...] = (1, 0)
        truth[:2, :4] = 0
        for track, category in ((1, 2), (2, 3), (3, 3)):
            y, x = random.integers(0, 8), track * 3 + step % 3
            truth[y : y + 4, x : x + 3] = category, track
        truth[10:, 10:] = 3, 0  # a crowd
        predicted = truth.copy()
        for old in (1, 2, 3):
            mine = (truth[..., 0] > 1) & (truth[..., 1] == old)
            predicted[mine, 1] = 10 * old + (step > 2 + old)
        predicted[10:, 10:] = 3, 50
        wrong = random.random(shape) < 0.15
        predicted[wrong] = [(0, 0), (1, 0), (2, 99)][seed % 3]
        predicted[:1, :3] = 2, 60  # on void
        frames.append((truth, predicted))
    return frames


def measured(frames, windows=(1, 2, 4)):
    quality = TrackingQuality(CATEGORIES, windows)
    for truth, predicted in frames:
        quality.add(*frame(predicted), *frame(truth, crowds=[(3, 0)]))
    return quality.compute(64.0)


def literal_aq(frames):
    true, predicted, shared = defaultdict(int), defaultdict(int), defaultdict(int)
    for t, p in frames:
        for a, b in zip(t.reshape(-1, 2).tolist(), p.reshape(-1, 2).tolist(), strict=True):
            g = tuple(a) if a[0] > 1 and a[1] > 0 else None
            q = tuple(b) if b[0] > 1 and tuple(a) != (3, 0) else None
            true[g] += 1
            predicted[q] += 1
            shared[g, q] += 1
    tracks = [g for g in true if g]
    outer = 0.0
    for g in tracks:
        inner = 0.0
        for q in predicted:
            if q and shared[g, q]:
                tpa = shared[g, q]
                fpa, fna = predicted[q] - tpa, true[g] - tpa
                inner += tpa * tpa / (tpa + fpa + fna)
        outer += inner / true[g]
    return 100 * outer / len(tracks)


@pytest.mark.parametrize("seed", range(6))
def test_aq_and_stq_against_the_formula(seed):
    frames = random_sequence(seed)
    result = measured(frames)
    assert 5 < result["AQ"] < 95 and result["AQ"] == pytest.approx(literal_aq(frames))
    assert result["STQ"] == pytest.approx(math.sqrt(literal_aq(frames) * 64)) and result["true_tracks"] == 3


@pytest.mark.parametrize("seed", range(4))
def test_vpq_is_the_pq_of_frames_laid_side_by_side(seed):
    frames, result = random_sequence(seed), measured(random_sequence(seed))
    for k in (1, 2, 4):
        quality = PanopticQuality(CATEGORIES)
        for start in range(len(frames) - k + 1):
            truth, predicted = (np.concatenate(maps, axis=1) for maps in zip(*frames[start : start + k], strict=True))
            quality.update(*frame(predicted), *frame(truth, crowds=[(3, 0)]))
        assert result["VPQ_per_window"][str(k)] == pytest.approx(quality.compute()["All"]["PQ"])
    assert result["VPQ"] == pytest.approx(np.mean(list(result["VPQ_per_window"].values())))
    assert result["VPQ_per_window"]["1"] > result["VPQ_per_window"]["4"], "ids change, so longer tubes fit less"


def test_id_switches_by_hand():
    def at(tracks):
        pixels = np.zeros((4, 12, 2), int)
        pixels[...] = (1, 0)
        for place, track in enumerate(tracks):
            if track:
                pixels[1:3, 4 * place : 4 * place + 3] = 2, track
        return pixels

    truth = [(1, 2, 3), (1, 2, 3), (1, 0, 3), (1, 2, 3)]
    found = [(5, 6, 0), (5, 6, 7), (6, 0, 7), (6, 8, 7)]
    result = measured([(at(t), at(f)) for t, f in zip(truth, found, strict=True)])
    # The first thing goes from 5 to 6, the second comes back as 8; ten matches, three of them the first of their thing.
    assert (result["matches"], result["id_switches"]) == (10, 2)
    assert result["id_consistency_percent"] == pytest.approx(100 * 5 / 7)


def test_truth_as_prediction_is_perfect_and_broken_ids_are_not():
    frames = [(t, t) for t, _ in random_sequence(0)]
    for t, _ in frames:
        t[(t == (3, 0)).all(axis=2)] = 1, 0
    result = measured(frames)
    for name in ("AQ", "VPQ", "VPQ_things", "VPQ_stuff", "id_consistency_percent"):
        assert result[name] == pytest.approx(100)
    assert result["STQ"] == pytest.approx(80)  # of the mean IoU that was given
    fresh = []
    for step, (t, _) in enumerate(frames):
        predicted = t.copy()
        predicted[t[..., 0] > 1, 1] += 10 * step
        fresh.append((t, predicted))
    result = measured(fresh)
    assert result["VPQ_per_window"]["1"] == pytest.approx(100) and result["id_consistency_percent"] == 0
    assert result["AQ"] == pytest.approx(100 / 6, abs=3), "each of six ids covers a sixth of a track"


def test_things_without_track_ids_are_an_error():
    pixels = np.full((3, 3, 2), (2, 0), int)
    with pytest.raises(InputError, match="expected a track id above 0 for a thing, found 0"):
        TrackingQuality(CATEGORIES).add(*frame(pixels), *frame(pixels))
    assert math.isnan(TrackingQuality(CATEGORIES).compute(float("nan"))["AQ"])
