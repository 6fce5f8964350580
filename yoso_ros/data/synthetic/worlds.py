# SPDX-License-Identifier: Apache-2.0
"""Worlds: the colours and the light from which scenes are drawn. Colours are linear light, rows of RGB."""

from dataclasses import dataclass

import numpy as np

SKIN = np.array([[0.78, 0.53, 0.40], [0.62, 0.38, 0.25], [0.30, 0.17, 0.11], [0.88, 0.66, 0.52]]) ** 2
HAIR = np.array([[0.10, 0.08, 0.07], [0.35, 0.22, 0.12], [0.70, 0.58, 0.35], [0.5, 0.5, 0.5]]) ** 2


@dataclass(frozen=True, kw_only=True)
class World:
    """Properties common to the scenes of a world.

    Attributes:
        clothes, boxes, cylinders, ground, masonry: colours to draw from, (n, 3).
        elevation: of the sun, minimum and maximum, degrees.
        sun, ambient: minimum and maximum strength of the sunlight and of the sky light.
        sun_tint: green and blue of the sun at its coldest, and their reduction at its warmest.
        ambient_tint: (3,), colour of the sky light.
    """

    clothes: np.ndarray
    boxes: np.ndarray
    cylinders: np.ndarray
    ground: np.ndarray
    masonry: np.ndarray
    elevation: tuple[float, float]
    sun: tuple[float, float]
    ambient: tuple[float, float]
    sun_tint: tuple[tuple[float, float], tuple[float, float]]
    ambient_tint: tuple[float, float, float]


def _colors(*rows):
    return np.array(rows) ** 2


WORLDS = {
    "yard": World(
        clothes=_colors(
            [0.7, 0.15, 0.15], [0.15, 0.3, 0.65], [0.85, 0.8, 0.7], [0.2, 0.5, 0.3], [0.9, 0.7, 0.2], [0.25, 0.25, 0.3]
        ),
        boxes=_colors([0.72, 0.55, 0.36], [0.62, 0.46, 0.30], [0.30, 0.42, 0.60], [0.65, 0.25, 0.2], [0.75, 0.75, 0.7]),
        cylinders=_colors([0.2, 0.45, 0.7], [0.85, 0.45, 0.1], [0.25, 0.55, 0.3], [0.6, 0.6, 0.62], [0.75, 0.2, 0.2]),
        ground=_colors([0.72, 0.66, 0.58], [0.62, 0.60, 0.58], [0.70, 0.52, 0.36], [0.55, 0.58, 0.55]),
        masonry=_colors([0.72, 0.45, 0.36], [0.85, 0.80, 0.70], [0.66, 0.70, 0.72], [0.80, 0.70, 0.52]),
        elevation=(30, 65),
        sun=(0.8, 1.1),
        ambient=(0.4, 0.55),
        sun_tint=((0.95, 0.85), (0.1, 0.25)),
        ambient_tint=(0.85, 0.95, 1.1),
    ),
    # After sunset: little light, most of it from one side; asphalt, painted metal, plastic crates and working clothes.
    "dusk": World(
        clothes=_colors([0.95, 0.45, 0.05], [0.9, 0.95, 0.2], [0.12, 0.14, 0.3], [0.4, 0.4, 0.42]),
        boxes=_colors([0.1, 0.35, 0.25], [0.12, 0.15, 0.4], [0.45, 0.45, 0.5], [0.2, 0.2, 0.2]),
        cylinders=_colors([0.15, 0.15, 0.17], [0.4, 0.1, 0.1], [0.3, 0.35, 0.2], [0.7, 0.7, 0.3]),
        ground=_colors([0.28, 0.28, 0.32], [0.35, 0.33, 0.33], [0.22, 0.26, 0.24]),
        masonry=_colors([0.25, 0.33, 0.30], [0.35, 0.30, 0.38], [0.30, 0.36, 0.45]),
        elevation=(8, 25),
        sun=(0.25, 0.5),
        ambient=(0.05, 0.12),
        sun_tint=((0.75, 0.45), (0.15, 0.2)),
        ambient_tint=(0.8, 0.9, 1.3),
    ),
}
