# SPDX-License-Identifier: Apache-2.0
"""Accuracy by distance against a literal count, segment by segment and pixel by pixel."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from yoso_ros.bags.depth import NearestDepth, depth_topic
from yoso_ros.errors import InputError
from yoso_ros.evaluation import PanopticQuality
from yoso_ros.evaluation.recordings.distance import DistanceBands
from yoso_ros.label_sets import load_label_set

LABELS = load_label_set("synthetic")
FLOOR, BOX = (c.dataset_id for c in (LABELS.classes[0], LABELS.classes[LABELS.thing_ids[0]]))


def median_band(mask, depth, edges):
    values = sorted(v for v in depth[mask].tolist() if not math.isnan(v))
    if not values:
        return len(edges) + 1
    median = values[(len(values) - 1) // 2]
    return sum(median >= edge for edge in edges)


def random_frame(seed):
    random = np.random.default_rng(seed)
    truth, predicted = np.ones((20, 30), np.int32), np.ones((20, 30), np.int32)
    for number in range(2, 7):
        y, x = random.integers(0, 14), 5 * (number - 2)
        truth[y : y + 6, x : x + 4] = number
        dy, dx = random.integers(-2, 3, 2)
        predicted[max(y + dy, 0) : y + dy + 6, max(x + dx, 0) : x + dx + 4] = number + 40
    depth = random.uniform(0.5, 3, (20, 30)).astype(np.float32)
    depth += np.linspace(0, 12, 30, dtype=np.float32)
    depth[random.random(depth.shape) < 0.2] = np.nan
    depth[truth == 4] = np.nan
    depth[0, 0] = 5.0  # at an edge
    return [predicted, segments(predicted), truth, segments(truth), depth]


def segments(ids):
    return [{"id": i, "category_id": FLOOR if i == 1 else BOX, "iscrowd": 0} for i in np.unique(ids).tolist()]


@pytest.mark.parametrize("edges", [(2, 5, 10), (4.0,)])
def test_bands_against_a_literal_count(edges):
    frames = [random_frame(seed) for seed in range(8)]
    bands = DistanceBands(LABELS, edges)
    count = {(b, c): [0.0, 0, 0, 0] for b in range(len(edges) + 2) for c in (FLOOR, BOX)}
    pixels = {b: [] for b in range(len(edges) + 2)}
    whole = PanopticQuality(LABELS.coco_categories())
    for ids, infos, truth, truth_infos, depth in frames:
        bands.add(ids, infos, truth, truth_infos, depth)
        whole.update(ids, infos, truth, truth_infos)
        taken = set()
        for t in truth_infos:
            mask, band = truth == t["id"], median_band(truth == t["id"], depth, edges)
            for p in infos:
                other = ids == p["id"]
                iou = (mask & other).sum() / (mask | other).sum()
                if p["category_id"] == t["category_id"] and iou > 0.5:
                    taken |= {("t", t["id"]), ("p", p["id"])}
                    count[band, t["category_id"]][0] += iou
                    count[band, t["category_id"]][1] += 1
            count[band, t["category_id"]][3] += ("t", t["id"]) not in taken
        for p in infos:
            band = median_band(ids == p["id"], depth, edges)
            count[band, p["category_id"]][2] += ("p", p["id"]) not in taken
        for d, t, p in zip(depth.ravel().tolist(), truth.ravel() == 1, ids.ravel() == 1, strict=True):
            pixels[len(edges) + 1 if math.isnan(d) else sum(d >= e for e in edges)].append((bool(t), bool(p)))
    rows = bands.compute()
    assert sum(r["true_segments"] for r in rows) == 8 * 6 and sum(r["pixels"] for r in rows) == 8 * 600
    for band, row in enumerate(rows):
        iou, tp, fp, fn = np.array([count[band, c] for c in (FLOOR, BOX)]).T
        with np.errstate(invalid="ignore"):
            pq = iou / (tp + fp / 2 + fn / 2)
        np.testing.assert_allclose(row["PQ"], 100 * np.nanmean(pq))
        np.testing.assert_allclose(row["PQ_things"], 100 * pq[1])
        assert row["recall"] == pytest.approx(100 * tp.sum() / (tp.sum() + fn.sum()))
        pairs = np.array(pixels[band])
        ious = [(pairs == v).all(axis=1).sum() / (pairs == v).any(axis=1).sum() for v in (True, False)]
        assert row["mean_iou"] == pytest.approx(100 * np.mean(ious))
    total = whole.totals.sum(axis=0)
    np.testing.assert_allclose(bands._totals.sum(axis=(0, 1)), total)


def test_a_class_that_is_not_true_in_a_band_is_no_class_of_it():
    bands, truth, depth = DistanceBands(LABELS, (2,)), np.ones((10, 10), np.int32), np.ones((10, 10), np.float32)
    truth[:, 5:], depth[:, 5:] = 2, 3
    predicted = np.where(truth == 2, 2, 1)
    predicted[0, 0] = 2  # a pixel of the far box on the near floor
    bands.add(predicted, segments(predicted), truth, segments(truth), depth)
    near, far, _ = bands.compute()
    assert (near["mean_iou"], far["mean_iou"]) == (98, 100)


def test_names_limits_and_bands_without_anything():
    rows = DistanceBands(LABELS, (2, 5)).compute()
    assert [r["name"] for r in rows] == ["0 to 2 m", "2 to 5 m", "over 5 m", "depth unknown"]
    assert [(r["from_m"], r["to_m"]) for r in rows] == [(0, 2), (2, 5), (5, None), (None, None)]
    assert all(math.isnan(r["PQ"]) and math.isnan(r["recall"]) and r["true_segments"] == 0 for r in rows)


def test_bad_edges_and_depth():
    for edges in ((), (0, 2), (3, 2), (2, 2), (float("nan"),)):
        with pytest.raises(InputError, match="expected rising distances above 0 m"):
            DistanceBands(LABELS, edges)
    frame = random_frame(0)
    frame[4] = frame[4][:5]
    with pytest.raises(InputError, match=r"expected depth of the size of the truth, \(20, 30\), found \(5, 30\)"):
        DistanceBands(LABELS).add(*frame)


def test_depth_of_the_nearest_time():
    depths = NearestDepth([(stamp, lambda stamp=stamp: stamp) for stamp in (100, 200, 300, 400)], max_offset_ns=45)
    assert [depths.at(s) for s in (40, 60, 140, 160, 260, 300, 346, 500)] == [None, 100, 100, 200, 300, 300, None, None]
    assert NearestDepth([]).at(5) is None


def test_topic_of_the_depth():
    def bag(**encodings):
        topics = {name: SimpleNamespace(type="sensor_msgs/msg/Image") for name in encodings}
        message = lambda names: iter([(names[0], 0, SimpleNamespace(encoding=encodings[names[0]]))])  # noqa: E731
        return SimpleNamespace(name="bag", topics=topics, messages=message)

    assert depth_topic(bag(color="rgb8", labels="mono16")) is None
    assert depth_topic(bag(color="rgb8", depth="16UC1")) == "depth"
    assert depth_topic(bag(left="32FC1", right="32FC1")) is None
    assert depth_topic(bag(raw="16UC1", aligned_depth="16UC1")) == "aligned_depth"
    assert depth_topic(bag(left="32FC1", right="32FC1"), "left") == "left"
    with pytest.raises(InputError, match="no depth topic 'color'; depth topics in it: depth"):
        depth_topic(bag(color="rgb8", depth="16UC1"), "color")
