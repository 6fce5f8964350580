# SPDX-License-Identifier: Apache-2.0
"""Several data sets combined for training, each with a weight, with images of rare classes repeated."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from yoso_ros.errors import InputError

if TYPE_CHECKING:
    from yoso_ros.data.samples import PanopticSample


class SampleMixture:
    """Samples of data sets with the same classes; `len()` is that of an epoch, `[i]` returns a `PanopticSample`.

    The weight of an image's data set times its repeat factor is how often it occurs per epoch; for the fractional part
    a draw from the seed decides once for the whole run.

    Args:
        datasets: list of data sets with the same `label_set`.
        weights: one float per data set, above 0; 1 is once per epoch.
        repeat_threshold: share of the images below which a class is rare (repeat factor sampling, Gupta et al., CVPR
            2019, section 5.1: an image is repeated by the maximum over its classes of max(1, sqrt(threshold / share)));
            0 repeats nothing and reads no labels in advance.
        seed: of the draw.
        watch: wraps the data sets' indices while labels are read in advance, for a progress bar.

    Raises:
        InputError: a weight is not above 0, or no images are left.
    """

    def __init__(
        self,
        datasets: Sequence[Any],
        weights: Sequence[float],
        repeat_threshold: float = 0.0,
        seed: int | Sequence[int] = 0,
        watch: Callable[..., Any] = iter,
    ):
        for weight in weights:
            if not 0 < weight < math.inf:
                raise InputError(f"expected a weight above 0 for a data set, found {weight:g}")
        self.label_set, self._datasets = datasets[0].label_set, datasets
        places = [(number, index) for number, dataset in enumerate(datasets) for index in range(len(dataset))]
        factors = np.array([weights[number] for number, _ in places], np.float64)
        if repeat_threshold:
            classes = [class_ids(datasets[number], index) for number, index in watch(places)]
            factors *= repeat_factors(classes, repeat_threshold)
        drawn = np.random.default_rng((seed, len(places))).random(len(places))
        times = np.floor(factors + drawn).astype(int)
        self._places = [place for place, count in zip(places, times.tolist(), strict=True) for _ in range(count)]
        if not self._places:
            raise InputError("expected at least one image to train on; raise the weights")

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> PanopticSample:
        number, place = self._places[index]
        return self._datasets[number][place]


def repeat_factors(classes: Sequence[Any], threshold: float) -> np.ndarray:
    """Repeat factor of each image, float64 (n,), at least 1; see `SampleMixture`.

    Args:
        classes: n sets of class ids. threshold: above 0.
    """
    images_with = Counter(c for present in classes for c in present)
    of_class = {c: max(1.0, math.sqrt(threshold * len(classes) / count)) for c, count in images_with.items()}
    return np.array([max((of_class[c] for c in present), default=1.0) for present in classes])


def class_ids(dataset: Any, index: int) -> Any:
    """Ids of the classes that are in an image, without crowds: set of int."""
    segments = dataset.segments_of(index) if hasattr(dataset, "segments_of") else dataset[index].segments
    known = dataset.label_set.contiguous_id
    return {known[s["category_id"]] for s in segments if not s["iscrowd"] and s["category_id"] in known}
