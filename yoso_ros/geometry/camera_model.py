# SPDX-License-Identifier: Apache-2.0
"""The camera of a sensor_msgs/CameraInfo: from pixels to rays, and from points to pixels. Does not need ROS.

Legend: `H W` size of the image; camera coordinates as in REP-103 for optical frames: x right, y down, z forward,
metres; pixel coordinates with the centre of the top-left pixel at (0, 0).
"""

import cv2
import numpy as np

from yoso_ros.errors import InputError
from yoso_ros.images.encoded import check_size

FISHEYE_MODELS = ("equidistant", "fisheye")
PLAIN_MODELS = ("", "plumb_bob", "rational_polynomial")  # one formula in OpenCV, chosen by the number of coefficients
PLAIN_COUNTS, FISHEYE_COUNTS = (4, 5, 8, 12, 14), (4,)
SHORTEST_FOCAL = 1e-2  # pixels; far below any real lens, and LARGEST_NUMBER is far above
LARGEST_NUMBER = 1e6  # in a calibration: pixels, or a distortion coefficient
# By default OpenCV stops after 5 iterations, a twentieth of a pixel off with a wide-angle lens.
ACCURATE = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-12)
MARGIN = 0.02  # fraction of the view added on each side, so that rounding at the border loses no point
NEAREST_M = 1e-3  # points nearer than this, or behind the camera, are not visible


class CameraModel:
    """Pinhole camera with the distortion of its calibration.

    Args:
        info: has height, width, k (9 numbers), d, p (12), distortion_model, as in sensor_msgs/CameraInfo.
        rectified: True if the images are rectified; then `p` is used and there is no distortion.

    Raises:
        InputError: no calibration, impossible values, or an unknown distortion model.
    """

    def __init__(self, info, rectified=False):
        self.size = info.height, info.width
        matrix = np.array(info.p, np.float64).reshape(3, 4)[:, :3] if rectified else np.reshape(info.k, (3, 3))
        self._matrix = np.array(matrix, np.float64)
        distortion = np.array([] if rectified else info.d, np.float64)
        self._distortion = distortion if distortion.any() else None
        self._is_fisheye = info.distortion_model in FISHEYE_MODELS
        self._check(info.distortion_model)

    def _check(self, distortion_model):
        height, width = self.size
        check_size(width, height, None, "camera_info")
        focal = self._matrix[[0, 1], [0, 1]]
        if 0 in self.size or not focal.any():
            raise InputError("expected a calibrated camera_info, found one without focal length or size")
        if not (focal >= SHORTEST_FOCAL).all() or not (np.abs(self._matrix) <= LARGEST_NUMBER).all():
            found = ", ".join(f"{value:g}" for value in self._matrix[:2].reshape(-1))
            raise InputError(
                f"expected a camera_info with focal lengths of {SHORTEST_FOCAL:g} to {LARGEST_NUMBER:g} pixels and "
                f"finite numbers up to it; found the camera matrix {found}"
            )
        if self._distortion is None:
            return
        if distortion_model not in (*FISHEYE_MODELS, *PLAIN_MODELS):
            known = ", ".join(m for m in (*PLAIN_MODELS, *FISHEYE_MODELS) if m)
            raise InputError(f"expected a distortion model of {known}; found {distortion_model[:40]!r}")
        counts = FISHEYE_COUNTS if self._is_fisheye else PLAIN_COUNTS
        if self._distortion.size not in counts:
            raise InputError(
                f"expected {' or '.join(map(str, counts))} coefficients of the distortion model {distortion_model!r}, "
                f"found {self._distortion.size}"
            )
        if not (np.abs(self._distortion) <= LARGEST_NUMBER).all():
            found = ", ".join(f"{value:g}" for value in self._distortion)
            raise InputError(f"expected finite distortion coefficients up to {LARGEST_NUMBER:g}, found {found}")

    def rays(self):
        """Where the ray of each pixel intersects the plane z = 1: float32 (H, W) x and float32 (H, W) y.

        Raises:
            InputError: the distortion cannot be inverted for all pixels.
        """
        height, width = self.size
        (fx, skew, cx), (_, fy, cy) = self._matrix[0], self._matrix[1]
        if self._distortion is None and skew == 0:
            x = np.broadcast_to(((np.arange(width) - cx) / fx).astype(np.float32), self.size)
            y = np.broadcast_to((((np.arange(height) - cy) / fy).astype(np.float32))[:, None], self.size)
            return np.ascontiguousarray(x), np.ascontiguousarray(y)
        columns, rows = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
        rays = self._undistort(np.stack([columns, rows], axis=-1).reshape(-1, 2)).astype(np.float32)
        if not np.isfinite(rays).all():
            lost = int(width * height - np.isfinite(rays).all(axis=1).sum())
            raise InputError(f"expected a distortion that can be undone, found one that cannot for {lost} pixels")
        x, y = rays.reshape(height, width, 2).transpose(2, 0, 1)
        return np.ascontiguousarray(x), np.ascontiguousarray(y)

    def _undistort(self, pixels):
        distortion = np.zeros(4) if self._distortion is None else self._distortion
        if self._is_fisheye:
            return cv2.fisheye.undistortPoints(pixels[:, None], self._matrix, distortion)[:, 0]
        if hasattr(cv2, "undistortPointsIter"):  # its name before OpenCV 5
            return cv2.undistortPointsIter(pixels[:, None], self._matrix, distortion, None, None, ACCURATE)[:, 0]
        return cv2.undistortPoints(pixels[:, None], self._matrix, distortion, criteria=ACCURATE)[:, 0]

    def project(self, points):
        """Project points to pixels.

        Args:
            points: float (n, 3), camera coordinates.

        Returns:
            int32 (n,) row, int32 (n,) column, bool (n,) whether the point is in view; if not, row and column are 0.
        """
        height, width = self.size
        points = np.asarray(points, np.float32)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            plane = points[:, :2] / points[:, 2:]
            seen = (points[:, 2] > NEAREST_M) & np.isfinite(plane).all(axis=1)
        plane = np.where(seen[:, None], plane, np.float32(0))
        if self._distortion is None:
            pixels = plane @ self._matrix[:2, :2].T.astype(np.float32) + self._matrix[:2, 2].astype(np.float32)
        else:
            # Far outside the view the polynomials fold back and would project points into the image.
            low, high = self._view()
            seen &= ((plane >= low) & (plane <= high)).all(axis=1)
            pixels = self._distort(np.where(seen[:, None], plane, np.float32(0)))
        # Compare as floating point, because values out of range cannot be converted to integers.
        inside = (pixels > -0.5).all(axis=1) & (pixels[:, 0] < width - 0.5) & (pixels[:, 1] < height - 0.5)
        seen &= inside
        column, row = np.rint(np.where(seen[:, None], pixels, 0)).astype(np.int32).T
        return row, column, seen

    def _view(self):
        """Bounding box of the view on the plane z = 1, with a margin: (low x, low y), (high x, high y)."""
        height, width = self.size
        columns, rows = np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64)
        sides = [np.stack(np.broadcast_arrays(columns, float(y)), -1) for y in (-0.5, height - 0.5)]
        sides += [np.stack(np.broadcast_arrays(float(x), rows), -1) for x in (-0.5, width - 0.5)]
        border = self._undistort(np.concatenate(sides))
        margin = MARGIN * np.ptp(border, axis=0)
        return border.min(axis=0) - margin, border.max(axis=0) + margin

    def _distort(self, plane):
        if self._is_fisheye:
            return cv2.fisheye.distortPoints(plane.astype(np.float64)[:, None], self._matrix, self._distortion)[:, 0]
        points = np.concatenate([plane, np.ones((len(plane), 1), np.float32)], axis=1).astype(np.float64)
        if len(points) == 0:
            return plane
        return cv2.projectPoints(points, np.zeros(3), np.zeros(3), self._matrix, self._distortion)[0][:, 0]
