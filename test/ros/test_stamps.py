# SPDX-License-Identifier: Apache-2.0
"""Stamps that go back or are far from the clock, also a simulated one."""

import pytest

from yoso_ros.ros.stamps import StampCheck

S = 10**9


@pytest.mark.parametrize(
    ("age_s", "fault"),
    [(0.0, ""), (4.9, ""), (5.1, "5.1 s behind"), (-0.9, ""), (-1.1, "1.1 s ahead"), (1e9, "behind")],
)
def test_distance_from_the_clock(age_s, fault):
    now = 2_000_000_000 * S
    faults = StampCheck("/cam/image_raw").faults(now - round(age_s * S), now)
    assert bool(faults) == bool(fault)
    assert all(fault in text and "/cam/image_raw" in text and "use_sim_time" in text for text in faults.values())


def test_stamps_that_go_back_are_told_with_their_distance_once_each():
    check = StampCheck("/cam/image_raw")
    stamps = [10, 11, 11, 8, 9, 12]
    told = ["".join(check.faults(stamp * S, stamp * S).values()) for stamp in stamps]
    assert [bool(text) for text in told] == [False, False, False, True, False, False]
    assert "back by 3.000 s" in told[3]


def test_a_simulated_clock():
    check = StampCheck("/cam/image_raw")
    assert list(check.faults(100 * S, 0, simulated=True)) == ["no clock"]
    assert not check.faults(101 * S, 101 * S, simulated=True)
    (text,) = check.faults(102 * S, 200 * S, simulated=True).values()
    assert "98.0 s behind /clock" in text
