# SPDX-License-Identifier: Apache-2.0
"""The calibration from camera_info: its camera model and the rays of its pixels, computed in a thread."""

import threading

import numpy as np

from yoso_ros.errors import InputError
from yoso_ros.geometry.camera_model import CameraModel

PARTS = ("height", "width", "distortion_model", "k", "d", "p")  # of a camera_info; the rest does not matter here


class Calibration:
    """The newest camera_info. Rays of a lens with distortion take seconds for a large image, so callers do not wait.

    Args:
        rectified: as of `CameraModel`.
        with_rays: False if only the camera model is needed.
        done: called in the computing thread whenever rays are ready or cannot be computed.
    """

    def __init__(self, rectified, with_rays, done):
        self._rectified, self._with_rays, self._done = rectified, with_rays, done
        self.info = None  # sensor_msgs/CameraInfo
        self._outcome = None  # (CameraModel, rays or None), or an InputError that says why there is none
        self._lock, self._thread = threading.Lock(), None

    def update(self, info):
        """Use a camera_info; nothing happens if it equals the previous one."""
        if self.info is None or any(not np.array_equal(getattr(info, p), getattr(self.info, p)) for p in PARTS):
            with self._lock:
                self.info, self._outcome = info, None

    def for_images(self, size):
        """Camera model and rays for images of a size (H, W).

        Returns:
            (CameraModel, float32 (H, W) x and y or None), or None while they are being computed.

        Raises:
            InputError: the calibration is unusable, or for images of another size.
        """
        found = self.info.height, self.info.width
        if found != tuple(size):  # before anything is computed for it
            raise InputError(
                "expected a camera_info of the size of the panoptic image, {1}x{0}; found {3}x{2}".format(*size, *found)
            )
        with self._lock:
            outcome = self._outcome
        if outcome is None and not self._with_rays:
            outcome = self._outcome = self._work_out(self.info)
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is None and self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(self.info,), name="rays", daemon=True)
            self._thread.start()
        return outcome

    def _run(self, info):
        outcome = self._work_out(info)
        with self._lock:
            self._thread = None
            if info is self.info:
                self._outcome = outcome
        self._done()

    def _work_out(self, info):
        try:
            model = CameraModel(info, self._rectified)
            return model, model.rays() if self._with_rays else None
        except Exception as error:  # raised for every image until another camera_info arrives
            return error
