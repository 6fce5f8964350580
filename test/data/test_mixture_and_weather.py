# SPDX-License-Identifier: Apache-2.0
"""Several data sets as one, rare classes more often, and pictures in other light and weather."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from yoso_ros.data.mixture import SampleMixture, class_ids, repeat_factors
from yoso_ros.data.samples import PanopticSample
from yoso_ros.data.weather import CameraFaults, Lighting, Weather
from yoso_ros.errors import InputError

LABELS = SimpleNamespace(contiguous_id={10: 0, 20: 1, 30: 2})


class Listed:
    """A data set of named images, whose labels are known without reading."""

    label_set = LABELS

    def __init__(self, name, *categories):
        self.name, self.categories = name, categories

    def __len__(self):
        return len(self.categories)

    def __getitem__(self, index):
        return self.name, index

    def segments_of(self, index):
        return [{"category_id": c, "iscrowd": 0} for c in self.categories[index]]


def test_repeat_factors_are_those_of_the_paper():
    classes = [{0}, {0}, {0, 1}, {0}, {0, 1}, {0}, {0}, {0}, {0}, {0, 2}]
    # Shares 1.0, 0.2 and 0.1; threshold 0.4: sqrt(2) and 2.
    factors = repeat_factors(classes, 0.4)
    assert factors[9] == pytest.approx(2) and factors[2] == pytest.approx(np.sqrt(2)) and factors[0] == 1
    assert repeat_factors([set()], 0.5).tolist() == [1.0]


def test_weights_and_rare_classes_decide_how_often_an_image_comes():
    own, more = Listed("own", *([[10]] * 60)), Listed("more", *([[10]] * 38), [10, 30], [10, 30])
    mixture = SampleMixture([own, more], [2, 0.5], repeat_threshold=0.32, seed=1)
    counts = Counter(mixture[i] for i in range(len(mixture)))
    assert all(counts["own", i] == 2 for i in range(60))
    plain = [counts["more", i] for i in range(38)]
    assert set(plain) == {0, 1} and 10 < sum(plain) < 28
    # Two of 100 have the class: the factor is sqrt(0.32 / 0.02) = 4, times the weight.
    assert counts["more", 38] == counts["more", 39] == 2
    again = SampleMixture([own, more], [2, 0.5], repeat_threshold=0.32, seed=1)
    assert [again[i] for i in range(len(again))] == [mixture[i] for i in range(len(mixture))]
    other = SampleMixture([own, more], [2, 0.5], repeat_threshold=0.32, seed=2)
    assert [other[i] for i in range(len(other))] != [mixture[i] for i in range(len(mixture))]


def test_crowds_do_not_count_as_a_class_that_is_there():
    dataset = Listed("own", [10])
    dataset.segments_of = lambda i: [{"category_id": 10, "iscrowd": 1}, {"category_id": 20, "iscrowd": 0}]
    assert class_ids(dataset, 0) == {1}


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf")])
def test_a_weight_is_above_0(weight):
    with pytest.raises(InputError, match="above 0"):
        SampleMixture([Listed("own", [10])], [weight])


def sample():
    ramp = np.linspace(20, 235, 96 * 128).reshape(96, 128)
    image = np.stack([ramp, ramp[::-1], ramp[:, ::-1]], axis=-1).astype(np.uint8)
    return PanopticSample(image, np.arange(96 * 128, dtype=np.int32).reshape(96, 128), [], 0, "x")


@pytest.mark.parametrize("kind", [Lighting, Weather, CameraFaults])
def test_pictures_change_and_labels_do_not(kind):
    original, changed = sample(), 0
    for seed in range(12):
        one, two = (kind(probability=1.0)(sample(), np.random.default_rng(seed)) for _ in range(2))
        assert (one.image == two.image).all() and one.image.dtype == np.uint8 and one.image.shape == (96, 128, 3)
        assert (one.ids == original.ids).all()
        changed += (one.image != original.image).any()
        assert (kind(probability=0.0)(sample(), np.random.default_rng(seed)).image == original.image).all()
    assert changed >= 6


def test_night_is_darker_and_fog_hides_the_top():
    original = sample()
    night = Lighting(probability=1.0, gamma=(2.6, 2.6), warmth=0.0, slope=0.0)(original, np.random.default_rng(0))
    expected = 255 * (original.image / 255.0) ** 2.6
    assert np.abs(night.image - expected).max() <= 1
    contrast = []
    for seed in range(20):
        weather = Weather(probability=1.0)(replace(original), np.random.default_rng(seed)).image.astype(float)
        contrast.append((weather[:8].std() / original.image[:8].std(), weather[-8:].std() / original.image[-8:].std()))
    top, bottom = np.array(contrast).T
    assert top.min() < 0.6 and np.median(bottom - top) >= 0
