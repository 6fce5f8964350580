# SPDX-License-Identifier: Apache-2.0
"""Frames worth labelling: what speaks for a frame, the bounded set of candidates, and the choice among them."""

from types import SimpleNamespace

import numpy as np
import pytest

from yoso_ros.errors import InputError
from yoso_ros.label_sets import LabelClass, LabelSet
from yoso_ros.labelling.appearance import SMALL, describe, difference, look_difference
from yoso_ros.labelling.candidates import CandidatePool, pool_bytes, read_pool
from yoso_ros.labelling.interest import FrameInterest, frame_interests
from yoso_ros.labelling.selection import choose
from yoso_ros.results import PanopticResult, segments_of

LABELS = LabelSet(
    name="toy",
    source="here",
    classes=(
        LabelClass(name="floor", is_thing=False, dataset_id=1, color=(1, 2, 3)),
        LabelClass(name="car", is_thing=True, dataset_id=2, color=(4, 5, 6)),
        LabelClass(name="dog", is_thing=True, dataset_id=3, color=(7, 8, 9)),
    ),
)


def candidate(index, grey=0, uncertain=0.0, classes=(0,), recording=0):
    look = np.zeros(SMALL + 6 * len(LABELS), np.uint8)
    look[:SMALL] = grey
    return FrameInterest(recording, index, index, uncertain, 0.0, 0.0, classes, look)


class Script:
    """A segmenter that gives the prepared maps one after the other."""

    label_set = LABELS

    def __init__(self, maps, confidence=255):
        self.maps, self.confidence = iter(maps), confidence

    def __call__(self, image):
        panoptic = next(self.maps)
        confidence = np.full(panoptic.shape, self.confidence, np.uint8)
        return PanopticResult(panoptic, (panoptic >> 8).astype(np.uint8), confidence, segments_of(panoptic, LABELS))


def scene(*things):
    """A floor with things: (panoptic id, row)."""
    panoptic = np.zeros((60, 80), np.uint16)
    for number, row in things:
        panoptic[row : row + 10, 20:40] = number
    return panoptic


def frames(count, broken=()):
    return [SimpleNamespace(stamp_ns=10**8 * (i + 1), image=None if i in broken else i) for i in range(count)]


def decode(image):
    if image is None:
        raise InputError("cut off")
    return np.full((60, 80, 3), image, np.uint8)


def test_things_that_flash_or_are_missed_for_a_frame_make_unrest():
    car, dog = (1 << 8 | 1, 10), (2 << 8 | 1, 40)
    maps = [scene(car), scene(car, dog), scene(car), scene(), scene(car)]
    found = list(frame_interests(frames(5), decode, Script(maps)))
    assert [f.unrest for f in found] == pytest.approx([0, 50, 0, 100, 0])
    assert [f.classes for f in found] == [(0, 1), (0, 1, 2), (0, 1), (0,), (0, 1)]


def test_doubt_disagreement_and_frames_that_do_not_decode():
    maps, others = [scene()] * 3, [scene((1 << 8 | 1, 10))] * 3
    faults = []
    found = list(frame_interests(frames(4, broken=[1]), decode, Script(maps, 51), Script(others), faults=faults))
    assert [f.index for f in found] == [0, 2, 3] and faults == ["frame 1: cut off"]
    assert found[0].uncertain == pytest.approx(80) and found[0].disagreement == pytest.approx(100 * 200 / 4800)
    with pytest.raises(InputError, match="cut off"):
        list(frame_interests(frames(2, broken=[1]), decode, Script(maps)))


def test_difference_is_0_for_the_same_and_1_for_nothing_in_common():
    black, white = np.zeros((60, 80, 3), np.uint8), np.full((60, 80, 3), 255, np.uint8)
    floor, cars = scene(), np.full((60, 80), 1 << 8 | 1, np.uint16)
    looks = np.stack([describe(image, Script([p])(image), 3) for image, p in ((black, floor), (white, cars))])
    assert difference(looks[0], looks)[0] == 0 and look_difference(looks[0], looks)[0] == 0
    # Lab lightness alone differs between black and white: a third of the numbers, by all 255 steps.
    assert look_difference(looks[0], looks)[1] == pytest.approx(85, abs=1)
    assert difference(looks[0], looks)[1] == pytest.approx(1, abs=0.01)


def test_a_pool_is_bounded_and_keeps_what_stands_out():
    rng = np.random.default_rng(0)
    stream = [candidate(i, grey=int(rng.integers(0, 200)), uncertain=float(rng.uniform(0, 30))) for i in range(300)]
    stream[120] = candidate(120, grey=90, uncertain=99.0)
    stream[200] = candidate(200, grey=61, classes=(0, 2))
    pools = [CandidatePool(20, same_look=2.0) for _ in range(2)]
    for pool in pools:
        for found in stream:
            pool.add(found)
            assert len(pool) <= 20
    kept = [f.index for f in pools[0]]
    assert kept == [f.index for f in pools[1]] and {120, 200} <= set(kept)
    assert pools[0].frames == 300 and pools[0].seen == {0: 300, 2: 1}
    greys = np.sort([f.look[0] for f in pools[0]]).astype(int)
    assert np.diff(greys).min() >= 2  # no two look the same
    assert greys[0] < 15 and greys[-1] > 185 and np.diff(greys).max() < 30  # spread over all there is


def test_a_pool_survives_the_disk(tmp_path):
    pool = CandidatePool(4)
    for i in range(6):
        pool.add(candidate(i, grey=40 * i, uncertain=i / 3, classes=(0, i % 3)))
    path = tmp_path / "x.part"
    path.write_bytes(pool_bytes(pool, ["frame 3: cut off"]))
    count, seen, entries, faults = read_pool(path)
    assert (count, seen, faults) == (6, pool.seen, ["frame 3: cut off"])
    for one, other in zip(entries, pool, strict=True):
        assert (one.index, one.uncertain, one.classes) == (other.index, other.uncertain, other.classes)
        assert (one.look == other.look).all()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="delete the file"):
        read_pool(path)


def chosen_of(candidates, count, **options):
    pool = CandidatePool(100)
    for found in candidates:
        pool.count(1, found.classes)
    return choose(candidates, count, pool.rarity, 2.0, **options)


def test_the_choice_is_spread_and_says_why():
    greys = [0, 1, 10, 11, 100, 101]
    candidates = [candidate(i, grey=g) for i, g in enumerate(greys)]
    candidates.append(candidate(6, grey=50, uncertain=90.0))
    candidates.append(candidate(7, grey=51, classes=(0, 1)))
    chosen = chosen_of(candidates, 8)
    places = [c.frame.index for c in chosen]
    # The uncertain one first, then the far ones; never two that look the same, although eight are asked for.
    assert places[0] == 6 and list(chosen[0].reasons)[0] == "uncertain"
    assert len(places) == 4 and len({greys[p] // 5 if p < 6 else "50" for p in places}) == 4
    assert chosen[1].reasons["new"] == 1.0 and chosen[1].frame.index == 0 and chosen[2].frame.index == 4


def test_a_rare_class_is_chosen_until_it_is_covered():
    candidates = [candidate(i, grey=4 * i) for i in range(40)]
    candidates[10] = candidate(10, grey=40, classes=(0, 2))
    candidates[20] = candidate(20, grey=80, uncertain=1.0)
    first = chosen_of(candidates, 3)
    rare = [c for c in first if "rare" in c.reasons]
    assert [c.frame.index for c in rare] == [10] and rare[0].rarest == 2
    covered = chosen_of(candidates, 1, have={2: 50})
    assert covered[0].frame.index == 20


def test_frames_that_look_like_labelled_ones_are_left_out():
    candidates = [candidate(0, grey=10, uncertain=90.0), candidate(1, grey=100)]
    chosen = chosen_of(candidates, 2, labelled=[candidate(9, grey=11).look])
    assert [c.frame.index for c in chosen] == [1]
    assert chosen_of([], 2) == []
