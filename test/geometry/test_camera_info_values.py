# SPDX-License-Identifier: Apache-2.0
"""Calibrations that no camera has are refused with what was found, before anything is worked out for them."""

import math
from types import SimpleNamespace

import pytest

from yoso_ros.errors import InputError
from yoso_ros.geometry.camera_model import CameraModel

NAN, INF = math.nan, math.inf


def info(**changes):
    values = {
        "height": 24,
        "width": 32,
        "distortion_model": "plumb_bob",
        "d": [0.1, 0.0, 0.0, 0.0, 0.0],
        "k": [30.0, 0, 16, 0, 30, 12, 0, 0, 1],
        "p": [30.0, 0, 16, 0, 0, 30, 12, 0, 0, 0, 1, 0],
    }
    return SimpleNamespace(**values | changes)


def matrix(fx, fy, cx, cy=12.0):
    return [fx, 0, cx, 0, fy, cy, 0, 0, 1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"k": [NAN] * 9}, "nan"),
        ({"k": [INF] * 9}, "inf"),
        ({"k": matrix(-30, -30, 16)}, "-30"),
        ({"k": matrix(30, 30, NAN)}, "nan"),
        ({"k": matrix(30, 30, INF)}, "inf"),
        ({"k": matrix(1e-300, 1e-300, 0)}, "1e-300"),
        ({"k": matrix(1e300, 1e300, 0)}, "1e+300"),
        ({"k": [0.0] * 9}, "without focal length"),
        ({"d": [NAN] * 5}, "finite distortion coefficients"),
        ({"d": [1e30] * 5}, "1e+30"),
        ({"d": [0.1] * 3}, "found 3"),
        ({"d": [0.1] * 1000}, "found 1000"),
        ({"distortion_model": "equidistant", "d": [0.1] * 7}, "found 7"),
        ({"distortion_model": "nope"}, "found 'nope'"),
        ({"distortion_model": "x" * 10**6}, "'" + "x" * 40 + "'"),
        ({"height": 2**31, "width": 2**31}, "expected at most"),
        ({"height": 0}, "size"),
    ],
)
def test_calibrations_that_no_camera_has(changes, said):
    with pytest.raises(InputError) as raised:
        CameraModel(info(**changes))
    assert said in str(raised.value) and len(str(raised.value)) < 400
