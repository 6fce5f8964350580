# SPDX-License-Identifier: Apache-2.0
"""The comparison of two runs: by hand, and against a bootstrap that is a plain loop over PanopticQuality's sums."""

import dataclasses
import math

import numpy as np
import pytest

from yoso_ros.errors import InputError
from yoso_ros.evaluation.mean_iou import MeanIoU
from yoso_ros.evaluation.panoptic_quality import summarise
from yoso_ros.evaluation.recordings.comparison import compare_runs
from yoso_ros.evaluation.recordings.frame_counts import (
    CountsOfFrames,
    FrameCounts,
    read_frame_counts,
    write_frame_counts,
)
from yoso_ros.label_sets import load_label_set

CLASSES, THINGS = ("floor", "box", "person"), (False, True, True)


def run(panoptic, semantic=None, names=None):
    panoptic = np.asarray(panoptic, np.float64)
    frames = len(panoptic)
    semantic = np.ones((frames, 3, 2), np.int64) if semantic is None else semantic
    names = np.array(names or [str(i) for i in range(frames)])
    return CountsOfFrames(names, np.array(CLASSES), np.array(THINGS), panoptic, semantic)


def random_run(seed, frames=40):
    random = np.random.default_rng(seed)
    counts = random.integers(0, 4, (frames, 3, 4)).astype(np.float64)
    counts[..., 0] = counts[..., 1] * random.uniform(0.5, 1, (frames, 3))
    counts[random.random(frames) < 0.5, 2] = 0  # a class that many frames have not
    union = random.integers(1, 500, (frames, 3))
    return run(counts, np.stack([(union * random.random((frames, 3))).astype(np.int64), union], axis=2))


def test_equal_runs_differ_by_nothing():
    result = compare_runs(random_run(0), random_run(0))
    for measure in result["measures"].values():
        assert measure["difference"] == 0 and measure["interval"] == [0, 0]
        assert (measure["a_wins"], measure["b_wins"], measure["ties"]) == (0, 0, 1)
    assert all(row["pq_interval"] == [0, 0] and row["iou_difference"] == 0 for row in result["per_class"])
    assert all(row["difference"] == 0 or math.isnan(row["difference"]) for row in result["per_frame"])


def test_two_frames_by_hand():
    nothing = [0, 0, 0, 0]
    a = run([[[0.8, 1, 0, 0], nothing, nothing], [[0.8, 1, 0, 0], [0, 0, 1, 1], nothing]])
    b = run([[[0.6, 1, 0, 0], nothing, nothing], [[0.8, 1, 0, 0], [0.9, 1, 0, 0], nothing]])
    result = compare_runs(a, b, resamples=4000)
    pq = result["measures"]["PQ"]
    assert (pq["a"], pq["b"]) == (pytest.approx(40), pytest.approx(80)) and pq["difference"] == pytest.approx(40)
    # Drawn: the first frame twice (a wins by 20), both (40), or the second twice (45).
    assert pq["a_wins"] == pytest.approx(0.25, abs=0.03) and pq["b_wins"] == pytest.approx(0.75, abs=0.03)
    np.testing.assert_allclose(pq["interval"], [-20, 45])
    floor, box, person = result["per_class"]
    assert floor["pq_difference"] == pytest.approx(-10) and box["pq_difference"] == pytest.approx(90)
    assert math.isnan(person["pq_a"]) and math.isnan(person["pq_interval"][0])
    assert [(r["name"], round(r["difference"])) for r in result["per_frame"]] == [("1", 45), ("0", -20)]


def test_interval_against_a_loop():
    a, b = random_run(1), random_run(2)
    result = compare_runs(a, b, resamples=2000)
    categories = [{"id": i, "name": n, "isthing": t} for i, (n, t) in enumerate(zip(CLASSES, THINGS, strict=True))]
    random, differences = np.random.default_rng(9), {"PQ": [], "PQ_things": [], "SQ": [], "mIoU": []}

    def measures(counts, drawn):
        quality = summarise(categories, counts.panoptic[drawn].sum(axis=0))
        semantic = counts.semantic[drawn].sum(axis=0)
        miou = 100 * np.mean([h / u for h, u in semantic.tolist()])
        return quality["All"]["PQ"], quality["Things"]["PQ"], quality["All"]["SQ"], miou

    everything = np.arange(40)
    for name, x, y in zip(differences, measures(a, everything), measures(b, everything), strict=True):
        assert (result["measures"][name]["a"], result["measures"][name]["b"]) == (pytest.approx(x), pytest.approx(y))
    for _ in range(2000):
        drawn = random.integers(0, 40, 40)
        for name, x, y in zip(differences, measures(a, drawn), measures(b, drawn), strict=True):
            differences[name].append(y - x)
    for name, values in differences.items():
        found = result["measures"][name]
        # The two draws are independent; the ends of 2,000 resamples spread by about 4 % of the interval's length.
        np.testing.assert_allclose(
            found["interval"], np.percentile(values, (2.5, 97.5)), atol=0.1 * np.ptp(found["interval"])
        )
        assert found["b_wins"] == pytest.approx(np.mean(np.array(values) > 0), abs=0.05)


def test_frames_are_paired_by_name_and_seeded():
    a, b = random_run(3), random_run(4)
    order = np.random.default_rng(0).permutation(40)
    turned = dataclasses.replace(b, names=b.names[order], panoptic=b.panoptic[order], semantic=b.semantic[order])
    np.testing.assert_equal(compare_runs(a, turned), compare_runs(a, b))
    part = run(b.panoptic[5:], b.semantic[5:], names=[*(str(i) for i in range(5, 37)), "x", "y", "z"])
    assert compare_runs(a, part)["frames"] == {"common": 32, "only_a": 8, "only_b": 3}
    small = compare_runs(a, b, resamples=10)["measures"]["PQ"]["interval"]
    assert small != compare_runs(a, b, resamples=10, seed=1)["measures"]["PQ"]["interval"]


def test_what_cannot_be_compared():
    a = random_run(0, 3)
    with pytest.raises(InputError, match="found none in common among 3 and 3"):
        compare_runs(a, dataclasses.replace(a, names=np.array(["x", "y", "z"])))
    with pytest.raises(InputError, match="against truth of the same classes, found floor, box, person and a, b, c"):
        compare_runs(a, dataclasses.replace(a, classes=np.array(["a", "b", "c"])))
    with pytest.raises(InputError, match="found a name twice"):
        compare_runs(dataclasses.replace(a, names=np.array(["x", "x", "y"])), a)


def test_counts_on_disk(tmp_path):
    labels = load_label_set("synthetic")
    collector, random = FrameCounts(labels), np.random.default_rng(0)
    totals, confusion = 0, MeanIoU(len(labels))
    for index in range(4):
        counts = random.random((len(labels), 4))
        added = confusion.count(*random.integers(0, len(labels), (2, 9, 9)).astype(np.uint8))
        confusion.confusion += added
        totals = totals + counts
        collector.add(10**18 + index, counts, added)
    write_frame_counts(collector.compute(), tmp_path)
    back = read_frame_counts(tmp_path)
    assert back.names.tolist() == [str(10**18 + i) for i in range(4)] and back.classes[0] == labels.classes[0].name
    np.testing.assert_allclose(back.panoptic.sum(axis=0), totals)
    hits, union = back.semantic.sum(axis=0).T
    np.testing.assert_allclose(hits / union, confusion.compute()[1])
    with pytest.raises(InputError, match="found none: run it again"):
        read_frame_counts(tmp_path / "nowhere")
    (tmp_path / "frames.npz").write_bytes(b"PK no archive")
    with pytest.raises(InputError, match="expected frame counts as written by evaluate-bag"):
        read_frame_counts(tmp_path)
