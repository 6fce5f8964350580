# SPDX-License-Identifier: Apache-2.0
"""A scene: a walled yard with boxes, cylinders and people, and a camera driving through it; all from a single seed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from yoso_ros.data.synthetic.camera import look_along
from yoso_ros.data.synthetic.people import Person
from yoso_ros.data.synthetic.shapes import BOX, CYLINDER, Solids, concatenate, upright
from yoso_ros.data.synthetic.textures import FLOOR_STYLES, WALL_STYLES
from yoso_ros.data.synthetic.worlds import HAIR, SKIN, WORLDS

if TYPE_CHECKING:
    from yoso_ros.data.synthetic.camera import Pose

LABEL_SET = "synthetic"
FLOOR, WALL, SKY, BOX_CLASS, CYLINDER_CLASS, PERSON_CLASS = range(6)  # order of config/label_sets/synthetic.yaml
CAMERA_CLEARANCE = 0.55  # metres between the camera's path and the surface of any object
CAMERA_SPEED = 0.8  # m/s, a walking robot


@dataclass(frozen=True)
class Item:
    """A static thing. `color` linear light (3,); `style` selects the pattern of its material."""

    object_id: int
    class_id: int
    solids: Solids
    color: np.ndarray
    style: int


@dataclass(frozen=True)
class Scene:
    """Everything that the renderer needs, in metres and linear light.

    Attributes:
        half_size: (x, y), the yard reaches from -half to half; wall_height: metres.
        sun: unit vector towards the sun; sun_color, ambient_color: (3,).
        path: camera ellipse (radius x, radius y, phase, direction +-1, height, pitch, look-in angle).
        items, people: the things; object ids are unique in the scene and constant over its frames.
    """

    half_size: tuple[float, float]
    wall_height: float
    floor_style: str
    wall_style: str
    floor_color: np.ndarray
    wall_color: np.ndarray
    sun: np.ndarray
    sun_color: np.ndarray
    ambient_color: np.ndarray
    path: tuple[float, ...]
    items: tuple[Item, ...]
    people: tuple[Person, ...]

    def camera_pose(self, time: float) -> Pose:
        """Pose of the camera at `time` seconds."""
        rx, ry, phase, direction, height, pitch, look_in = self.path
        angle = phase + direction * CAMERA_SPEED / np.sqrt(rx * ry) * time
        tangent = np.arctan2(direction * ry * np.cos(angle), -direction * rx * np.sin(angle))
        yaw = tangent + direction * look_in + 0.35 * np.sin(0.31 * time + phase)
        bob = 0.012 * np.sin(5.1 * time)
        position = [rx * np.cos(angle), ry * np.sin(angle), height + bob]
        return look_along(position, yaw, pitch + 0.02 * np.sin(0.9 * time), 0.012 * np.sin(1.3 * time))

    def solids(self, time: float) -> Solids:
        """All solids at `time` seconds."""
        return concatenate([item.solids for item in self.items] + [person.solids(time) for person in self.people])

    @functools.cached_property
    def class_of_object(self) -> np.ndarray:
        """uint8 (objects + 1,): class id by object id; entry 0 is unused."""
        classes = np.full(len(self.items) + len(self.people) + 1, 255, np.uint8)
        classes[[item.object_id for item in self.items]] = [item.class_id for item in self.items]
        classes[[person.object_id for person in self.people]] = PERSON_CLASS
        return classes


def random_scene(seed: int | Sequence[int], world: str = "yard") -> Scene:
    """A scene of a world (name in `WORLDS`) drawn from `seed` (int or sequence of int), the same for the same seed."""
    look = WORLDS[world]
    rng = np.random.default_rng(seed)
    half = (rng.uniform(4.5, 7.5), rng.uniform(4.5, 7.5))
    radii = (rng.uniform(0.5, 0.68) * half[0], rng.uniform(0.5, 0.68) * half[1])
    direction = rng.choice([-1.0, 1.0])
    height, pitch = rng.uniform(0.7, 1.5), rng.uniform(-0.22, 0.0)
    path = (*radii, rng.uniform(0, 2 * np.pi), direction, height, pitch, rng.uniform(0.1, 0.9))
    elevation, azimuth = np.radians(rng.uniform(*look.elevation)), rng.uniform(0, 2 * np.pi)
    sun = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    warm, (cold, loss) = rng.uniform(0, 1), look.sun_tint
    items, people = _furnish(rng, half, radii, look)
    return Scene(
        half_size=half,
        wall_height=rng.uniform(2.0, 3.2),
        floor_style=str(rng.choice(FLOOR_STYLES)),
        wall_style=str(rng.choice(WALL_STYLES)),
        floor_color=rng.choice(look.ground) * rng.uniform(0.85, 1.15, 3),
        wall_color=rng.choice(look.masonry) * rng.uniform(0.85, 1.15, 3),
        sun=sun,
        sun_color=np.append(1.0, np.array(cold) - np.array(loss) * warm) * rng.uniform(*look.sun),
        ambient_color=np.array(look.ambient_tint) * rng.uniform(*look.ambient),
        path=path,
        items=items,
        people=people,
    )


def _furnish(rng, half, radii, look):
    """Draw the things; a position is used only if it is clear of walls, the camera's path and earlier things."""
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    path = np.stack([radii[0] * np.cos(angles), radii[1] * np.sin(angles)], axis=1)
    taken = []  # x, y, radius

    def place(radius):
        for _ in range(60):
            x, y = (rng.uniform(-h + radius + 0.2, h - radius - 0.2) for h in half)
            clear_of_path = np.hypot(*(path - (x, y)).T).min() > radius + CAMERA_CLEARANCE
            if clear_of_path and all(np.hypot(x - a, y - b) > radius + r + 0.1 for a, b, r in taken):
                taken.append((x, y, radius))
                return x, y
        return None

    items, people = [], []
    for _ in range(rng.integers(4, 8)):
        radius = float(rng.choice([0.45, 0.5, 0.8, 1.3]))
        if (spot := place(radius)) is not None:
            people.append(_person(rng, spot, radius, look.clothes))
    for _ in range(rng.integers(6, 12)):
        half_size = rng.uniform([0.15, 0.15, 0.12], [0.65, 0.65, 0.7])
        if (spot := place(float(np.hypot(*half_size[:2])))) is not None:
            yaw, color = rng.uniform(0, np.pi), rng.choice(look.boxes) * rng.uniform(0.8, 1.2)
            items.append((BOX_CLASS, upright(BOX, *spot, 0.0, half_size, yaw, 0), color))
            if half_size[:2].min() > 0.3 and rng.random() < 0.6:
                upper = np.append(rng.uniform(0.45, 0.7, 2) * half_size[:2].min(), rng.uniform(0.12, 0.3))
                stacked = upright(BOX, *spot, 2 * half_size[2], upper, yaw + rng.uniform(-0.4, 0.4), 0)
                items.append((BOX_CLASS, stacked, rng.choice(look.boxes)))
    for _ in range(rng.integers(5, 11)):
        radius, half_height = rng.uniform(0.12, 0.4), rng.uniform(0.25, 0.65)
        if (spot := place(float(radius))) is not None:
            solids = upright(CYLINDER, *spot, 0.0, (radius, radius, half_height), rng.uniform(0, np.pi), 0)
            items.append((CYLINDER_CLASS, solids, rng.choice(look.cylinders) * rng.uniform(0.8, 1.2)))
    numbered = []
    for number, (class_id, solids, color) in enumerate(items, start=1):
        solids.object_id[:] = number
        numbered.append(Item(number, class_id, solids, color, int(rng.integers(3))))
    people = [Person(len(items) + i, *person) for i, person in enumerate(people, start=1)]
    return tuple(numbered), tuple(people)


def _person(rng, spot, radius, clothes):
    height = rng.uniform(1.5, 1.9)
    speed = rng.choice([-1.0, 1.0]) * rng.uniform(0.6, 1.1) if radius > 0.5 else rng.choice([-1.0, 1.0]) * 1e-6
    colors = np.stack([rng.choice(SKIN), rng.choice(HAIR), rng.choice(clothes), rng.choice(clothes) * 0.7])
    return spot, max(radius - 0.35, 0.05), rng.uniform(0, 2 * np.pi), speed, height, colors
