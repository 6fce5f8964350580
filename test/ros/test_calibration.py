# SPDX-License-Identifier: Apache-2.0
"""Rays are worked out beside the caller, for images of the right size only, and for the newest camera_info."""

import threading
import time
from types import SimpleNamespace

import pytest
from patience import PATIENCE_S

from yoso_ros.errors import InputError

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from yoso_ros.ros import calibration


def info(focal, height=24, width=32):
    k = [focal, 0, 16, 0, focal, 12, 0, 0, 1]
    return SimpleNamespace(height=height, width=width, distortion_model="plumb_bob", d=[0.1] * 5, k=k, p=[0.0] * 12)


def test_rays_are_worked_out_in_a_thread_of_their_own(monkeypatch):
    go_on, made = threading.Event(), []

    class SlowModel:
        def __init__(self, info, rectified):
            made.append(info)

        def rays(self):
            assert go_on.wait(PATIENCE_S)
            return "rays"

    monkeypatch.setattr(calibration, "CameraModel", SlowModel)
    done = threading.Semaphore(0)
    rays = calibration.Calibration(False, True, done.release)
    rays.update(info(30.0, 60_000, 60_000))
    with pytest.raises(InputError, match="expected a camera_info of the size of the panoptic image, 32x24; found 6000"):
        rays.for_images((24, 32))
    assert not made, "the size is looked at first"
    for focal in (30.0, 31.0, 32.0):
        rays.update(info(focal))
        assert rays.for_images((24, 32)) is None
    assert len(made) == 1, "one thread, however many come"
    go_on.set()
    assert done.acquire(timeout=PATIENCE_S)
    assert rays.for_images((24, 32)) is None, "those were of a camera_info that is not the newest"
    assert done.acquire(timeout=PATIENCE_S)
    assert rays.for_images((24, 32))[1] == "rays" and made[-1].k[0] == 32.0


def test_a_calibration_of_no_use_is_told_for_every_image_until_another_comes():
    done = threading.Semaphore(0)
    rays = calibration.Calibration(False, True, done.release)
    rays.update(info(float("nan")))
    assert rays.for_images((24, 32)) is None
    assert done.acquire(timeout=PATIENCE_S)
    for _ in range(2):
        with pytest.raises(InputError, match="nan"):
            rays.for_images((24, 32))
    rays.update(info(30.0))
    deadline = time.monotonic() + PATIENCE_S
    while rays.for_images((24, 32)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
