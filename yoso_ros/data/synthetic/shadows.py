# SPDX-License-Identifier: Apache-2.0
"""Shadows on the floor: where the solids block the sun, drawn once per frame into a map of the yard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from yoso_ros.data.synthetic.scene import Scene
    from yoso_ros.data.synthetic.shapes import Solids

MAP_SIZE = 384  # cells along each side of the yard
SOFTNESS = 1.2  # cells, the sun is not a point

_CIRCLE = np.array([[np.cos(a), np.sin(a)] for a in np.linspace(0, 2 * np.pi, 12, endpoint=False)])
_BALL = np.array(
    [[*(c * np.sqrt(1 - z * z)), z] for z in (-0.85, -0.3, 0.3, 0.85) for c in _CIRCLE] + [[0, 0, 1.0], [0, 0, -1.0]]
)
_CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
_CYLINDER = np.array([[*c, z] for z in (-1, 1) for c in _CIRCLE])
_HULL_POINTS = (_CUBE, _CYLINDER, _BALL)  # by BOX, CYLINDER, BALL


def floor_light(scene: Scene, solids: Solids) -> np.ndarray:
    """Share of the sun that reaches the floor: float32 (MAP_SIZE, MAP_SIZE), rows along y, columns along x."""
    light = np.ones((MAP_SIZE, MAP_SIZE), np.float32)
    slide = scene.sun[:2] / scene.sun[2]
    cells_per_metre = MAP_SIZE / 2 / np.array(scene.half_size)
    subpixel_bits = 4
    for kind in set(solids.kind.tolist()):
        chosen = solids.kind == kind
        points = solids.centre[chosen, None] + _HULL_POINTS[kind] @ solids.axes[chosen]
        on_floor = points[..., :2] - np.maximum(points[..., 2:], 0) * slide
        cells = (on_floor + scene.half_size) * cells_per_metre - 0.5
        for outline in np.round(cells * 2**subpixel_bits).astype(np.int32):
            cv2.fillConvexPoly(light, cv2.convexHull(outline), 0.0, shift=subpixel_bits)
    return cv2.GaussianBlur(light, (0, 0), SOFTNESS)


def sample_floor_light(light: np.ndarray, half_size: tuple[float, float], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Light at floor points `x`, `y` (metres, float32 (n,)), bilinear: float32 (n,)."""
    column = ((x + half_size[0]) / (2 * half_size[0]) * MAP_SIZE - 0.5).astype(np.float32)
    row = ((y + half_size[1]) / (2 * half_size[1]) * MAP_SIZE - 0.5).astype(np.float32)
    # OpenCV's remap requires images below 32768 on each side, so the points are arranged as rows of a block.
    width = 4096
    padded = np.zeros((2, -(-len(x) // width), width), np.float32)
    padded[0].reshape(-1)[: len(x)], padded[1].reshape(-1)[: len(x)] = column, row
    if not len(x):
        return column
    return cv2.remap(light, padded[0], padded[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).reshape(-1)[
        : len(x)
    ]
