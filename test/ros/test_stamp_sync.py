# SPDX-License-Identifier: Apache-2.0
"""Messages that belong together by their stamps, in and out of order."""

import itertools
from types import SimpleNamespace

import pytest

from yoso_ros.ros.stamp_sync import StampSync


def message(seconds, name=""):
    sec, part = divmod(round(seconds * 1e9), 10**9)
    return SimpleNamespace(header=SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=part)), name=name, at=seconds)


def played(sync_options, arrivals):
    """Sets that are delivered, as tuples of times, when (name, time) arrive in this order."""
    sets = []
    sync = StampSync(("a", "b"), lambda found: sets.append((found["a"].at, found["b"].at)), **sync_options)
    for name, seconds in arrivals:
        sync.add(name, message(seconds))
    return sets


@pytest.mark.parametrize("order", list(itertools.permutations([("a", 1.0), ("b", 1.0), ("a", 2.0), ("b", 2.0)])))
def test_equal_stamps_meet_in_any_order(order):
    assert sorted(played({}, order)) == [(1.0, 1.0), (2.0, 2.0)]


def test_a_nanosecond_apart_is_not_equal():
    assert played({}, [("a", 1.0), ("b", 1.000000001)]) == []


def test_what_has_no_partner_is_given_up_after_the_depth():
    late = [("a", 1.0), *[("a", 10.0 + i) for i in range(3)], ("b", 1.0), ("b", 12.0)]
    assert played({"depth": 3}, late) == [(12.0, 12.0)]
    assert played({"depth": 4}, late) == [(1.0, 1.0), (12.0, 12.0)]


def test_a_set_is_delivered_once_and_stamps_may_jump_back():
    arrivals = [("a", 5.0), ("b", 5.0), ("b", 5.0), ("a", 1.0), ("b", 1.0), ("a", 5.0)]
    assert played({}, arrivals) == [(5.0, 5.0), (1.0, 1.0), (5.0, 5.0)]


def test_the_nearest_within_the_tolerance_is_taken_once_it_is_certain():
    options = {"tolerance_s": 0.05}
    assert played(options, [("b", 1.0), ("a", 1.03)]) == [], "a nearer one may come"
    assert played(options, [("b", 1.0), ("a", 1.03), ("b", 1.04)]) == [(1.03, 1.04)]
    assert played(options, [("b", 1.0), ("a", 1.03), ("b", 1.1)]) == [(1.03, 1.0)]
    assert played(options, [("b", 1.0), ("a", 1.06), ("b", 1.12)]) == [], "both are too far"
    assert played(options, [("b", 1.0), ("a", 1.0)]) == [(1.0, 1.0)]


def test_a_slow_topic_serves_a_fast_leader_several_times():
    arrivals = [("b", 1.0), ("a", 1.01), ("a", 1.02), ("a", 1.08), ("b", 1.1), ("a", 1.12), ("b", 1.2)]
    expected = [(1.01, 1.0), (1.02, 1.0), (1.08, 1.1), (1.12, 1.1)]
    assert played({"tolerance_s": 0.05}, arrivals) == expected
