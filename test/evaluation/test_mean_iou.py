# SPDX-License-Identifier: Apache-2.0
"""mIoU equals a count by sets of pixels, with ignored truth, unlabelled predictions and absent classes."""

import math

import numpy as np
import pytest

from yoso_ros.errors import InputError
from yoso_ros.evaluation import MeanIoU


def test_equals_sets_of_pixels():
    rng = np.random.default_rng(0)
    values = np.array([0, 1, 2, 4, 255], dtype=np.uint8)  # class 3 of 5 is absent
    images = [(rng.choice(values, (20, 30)), rng.choice(values, (20, 30))) for _ in range(6)]
    metric, other = MeanIoU(5), MeanIoU(5)
    hits, union = np.zeros(5), np.zeros(5)
    for i, (predicted, truth) in enumerate(images):
        (metric if i % 2 else other).update(predicted, truth)
        for c in range(5):
            p, t = {*np.flatnonzero((predicted == c) & (truth != 255))}, {*np.flatnonzero(truth == c)}
            hits[c] += len(p & t)
            union[c] += len(p | t)
    metric.merge(other)
    mean, iou = metric.compute()
    seen = [0, 1, 2, 4]
    np.testing.assert_allclose(iou[seen], hits[seen] / union[seen], atol=1e-12)
    assert math.isnan(iou[3])
    assert mean == pytest.approx(100 * np.mean(hits[seen] / union[seen]), abs=1e-9)


def test_unlabelled_is_a_miss_and_nothing_is_nan():
    metric = MeanIoU(2)
    assert math.isnan(metric.compute()[0])
    metric.update(np.array([[0, 255, 1, 1]], np.uint8), np.array([[0, 0, 255, 1]], np.uint8))
    mean, iou = metric.compute()
    assert iou.tolist() == [0.5, 1.0] and mean == 75.0


def test_bad_maps():
    with pytest.raises(InputError, match="one size"):
        MeanIoU(2).update(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8))
    for predicted, truth in ((2, 0), (0, 2)):
        with pytest.raises(InputError, match="class ids 0 to 1 and 255"):
            MeanIoU(2).update(np.full((2, 2), predicted, np.uint8), np.full((2, 2), truth, np.uint8))
