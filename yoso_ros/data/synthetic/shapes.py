# SPDX-License-Identifier: Apache-2.0
"""Solids for ray casting: every solid is an affine image of the unit cube, the unit cylinder or the unit ball.

Legend: `P` solids, `n` pixels that are hit; a ray is origin + depth * direction with direction z = 1 in the camera
frame, so the ray parameter is the optical depth in metres. Local coordinates: the solid is within -1..1 on each axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BOX, CYLINDER, BALL = 0, 1, 2


@dataclass(frozen=True)
class Solids:
    """`P` solids at one moment.

    Attributes:
        kind: int (P,), BOX, CYLINDER (axis along local z) or BALL.
        centre: float64 (P, 3), world metres.
        axes: float64 (P, 3, 3), rows are the half axes in world metres, orthogonal.
        object_id: int (P,), 1.. ; the solids of one object share it.
        part: int (P,), index of the part in its object, for materials.
    """

    kind: np.ndarray
    centre: np.ndarray
    axes: np.ndarray
    object_id: np.ndarray
    part: np.ndarray

    def to_local(self) -> np.ndarray:
        """Matrices (P, 3, 3) from world offsets to local coordinates."""
        return self.axes / np.square(self.axes).sum(axis=2, keepdims=True)

    def corners(self) -> np.ndarray:
        """The eight corners of each solid's oriented bounding box: float64 (P, 8, 3), world metres."""
        signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
        return self.centre[:, None] + signs @ self.axes


def concatenate(parts: list[Solids]) -> Solids:
    """Join a list of `Solids`."""
    names = ("kind", "centre", "axes", "object_id", "part")
    return Solids(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def upright(
    kind: int,
    x: float,
    y: float,
    bottom: float,
    half_size: np.ndarray | tuple[float, float, float],
    yaw: float,
    object_id: int,
    part: int = 0,
) -> Solids:
    """One upright solid: `half_size` (3,) metres, rotated by `yaw` radians about the vertical."""
    c, s = np.cos(yaw), np.sin(yaw)
    axes = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) * np.asarray(half_size)[:, None]
    centre = [[x, y, bottom + half_size[2]]]
    return Solids(np.array([kind]), np.array(centre), axes[None], np.array([object_id]), np.array([part]))


def limbs(
    start: np.ndarray,
    end: np.ndarray,
    side: np.ndarray,
    width: np.ndarray | float,
    thickness: np.ndarray,
    overlap: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Half axes (P, 3, 3) and centres (P, 3) of stretched balls from `start` to `end` (P, 3).

    `side` (3,) is the direction of `width` (P,); `thickness` (P,) is across it; `overlap` (P,) lengthens both ends;
    all in metres.
    """
    along = end - start
    length = np.linalg.norm(along, axis=1, keepdims=True)
    w = along / length
    u = side - (w @ side)[:, None] * w
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    v = np.cross(w, u)
    axes = np.stack([u * width[:, None], v * thickness[:, None], w * (length / 2 + overlap[:, None])], axis=1)
    return axes, (start + end) / 2


def intersect(kind: int, origin: Sequence[float], direction: Sequence[np.ndarray]) -> np.ndarray:
    """First intersection of rays with a unit solid.

    Args:
        kind: BOX, CYLINDER or BALL.
        origin: three floats, the camera in local coordinates.
        direction: three float32 (h, w) arrays, ray directions in local coordinates.

    Returns:
        float32 (h, w) depth in metres, inf where the ray misses or the solid is behind the camera.
    """
    # A ray that misses has the root of a negative number, NaN, which fails every comparison below.
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == BOX:
            slabs = [_slab(o, e) for o, e in zip(origin, direction, strict=True)]
            depth = np.maximum(np.maximum(slabs[0][0], slabs[1][0]), slabs[2][0])
            depth[depth > np.minimum(np.minimum(slabs[0][1], slabs[1][1]), slabs[2][1])] = np.inf
        else:
            a, b, root = _quadric(origin, direction, 3 if kind == BALL else 2)
            depth = -(b + root) / a
            if kind == CYLINDER:
                bottom, top = _slab(origin[2], direction[2])
                np.maximum(depth, bottom, out=depth)
                depth[~(depth <= np.minimum((root - b) / a, top))] = np.inf
        depth[~(depth > 0)] = np.inf
    return depth


def _quadric(origin, direction, dimensions):
    """a and b of a t^2 + 2 b t + c = 0 for the unit ball or the unit circle, and the root of b^2 - a c."""
    o, e = origin[:dimensions], direction[:dimensions]
    a, b = e[0] * e[0], e[0] * o[0]
    for i in range(1, dimensions):
        a += e[i] * e[i]
        b += e[i] * o[i]
    return a, b, np.sqrt(b * b - a * (sum(x * x for x in o) - 1))


def _slab(origin, direction):
    inverse = 1 / direction
    one, two = (-1 - origin) * inverse, (1 - origin) * inverse
    return np.minimum(one, two), np.maximum(one, two)


def local_normal(kind: int, local: np.ndarray) -> np.ndarray:
    """Outward normal in local coordinates at surface points `local` float32 (n, 3), before the affine map: (n, 3)."""
    if kind == BALL:
        return local
    if kind == CYLINDER:
        cap = np.abs(local[:, 2]) > np.hypot(local[:, 0], local[:, 1])
        side = local * np.array([1, 1, 0], np.float32)
        return np.where(cap[:, None], np.sign(local) * np.array([0, 0, 1], np.float32), side)
    magnitude = np.abs(local)
    return np.sign(local) * (magnitude == magnitude.max(axis=1, keepdims=True))
