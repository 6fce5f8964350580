# SPDX-License-Identifier: Apache-2.0
"""A pinhole camera: intrinsics as in sensor_msgs/CameraInfo, pose in a world with z up.

Legend: world x y on the floor, z up, metres, right-handed; camera frame (optical) x right, y down, z forward;
pixel centres at integer coordinates, so u = fx * X / Z + cx.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Intrinsics:
    """Image size in pixels and pinhole numbers in pixels; no distortion."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    @classmethod
    def from_field_of_view(cls, width: int, height: int, degrees: float) -> Intrinsics:
        """Square pixels, principal point in the middle, `degrees` of horizontal field of view."""
        focal = width / 2 / np.tan(np.radians(degrees) / 2)
        return cls(width, height, float(focal), float(focal), (width - 1) / 2, (height - 1) / 2)

    @property
    def k(self) -> tuple[float, ...]:
        """The nine numbers of CameraInfo.k in row-major order."""
        return (self.fx, 0.0, self.cx, 0.0, self.fy, self.cy, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Pose:
    """Camera pose. `position` float64 (3,) metres in the world; `rotation` float64 (3, 3), camera to world."""

    position: np.ndarray
    rotation: np.ndarray


def look_along(position: Sequence[float] | np.ndarray, yaw: float, pitch: float, roll: float = 0.0) -> Pose:
    """Pose of a camera at `position` looking along `yaw` (from world x to y) and `pitch` (up positive), in radians."""
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    right, down = np.cos(roll) * right + np.sin(roll) * down, np.cos(roll) * down - np.sin(roll) * right
    return Pose(np.asarray(position, np.float64), np.stack([right, down, forward], axis=1))


def project(points: np.ndarray, pose: Pose, intrinsics: Intrinsics) -> tuple[np.ndarray, np.ndarray]:
    """Project world points, float (..., 3), to pixels: returns uv float64 (..., 2) and depth float64 (...) in metres.

    The depth is the optical z; pixels of points with depth <= 0 are undefined.
    """
    camera = (np.asarray(points) - pose.position) @ pose.rotation
    depth = camera[..., 2]
    safe = np.where(depth > 0, depth, np.inf)
    u = intrinsics.fx * camera[..., 0] / safe + intrinsics.cx
    v = intrinsics.fy * camera[..., 1] / safe + intrinsics.cy
    return np.stack([u, v], axis=-1), depth
