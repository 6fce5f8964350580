# SPDX-License-Identifier: Apache-2.0
"""Ray casting of a scene: the image and its exact ground truth (class, object, depth) from the same hits.

Legend: `H W` frame size; rays and depths as in shapes.py; colours linear light until the last step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from yoso_ros.data.synthetic import materials
from yoso_ros.data.synthetic.backdrop import draw_backdrop
from yoso_ros.data.synthetic.camera import Intrinsics, Pose, project
from yoso_ros.data.synthetic.scene import BOX_CLASS, SKY
from yoso_ros.data.synthetic.shapes import intersect, local_normal
from yoso_ros.results import panoptic_id

if TYPE_CHECKING:
    from yoso_ros.data.synthetic.scene import Scene

DEFAULT_FIELD_OF_VIEW = 75.0  # degrees, horizontal, a typical robot camera
NEAR = 0.05  # metres; a solid that comes nearer than this is searched in the whole frame
LENS_BLUR = 0.55  # pixels, softens the aliasing of one ray per pixel
HAZE_DISTANCE = 60.0  # metres
HAZE = (0.55, 0.62, 0.72)
NOISE_MARGIN = 64  # the noise field is larger than the frame by this many pixels and shifted from frame to frame


@dataclass(frozen=True, slots=True)
class RenderedFrame:
    """An image and its ground truth.

    Attributes:
        image: uint8 (H, W, 3) RGB.
        semantic: uint8 (H, W), class id of label set `synthetic`; every pixel has one.
        instance: uint8 (H, W), object id 1..255 on things, 0 on stuff.
        depth: float32 (H, W), optical z in metres, inf on sky.
        intrinsics: `Intrinsics`; pose: `Pose`.
    """

    image: np.ndarray
    semantic: np.ndarray
    instance: np.ndarray
    depth: np.ndarray
    intrinsics: Intrinsics
    pose: Pose

    @property
    def panoptic(self) -> np.ndarray:
        """uint16 (H, W) by the package's id rule; the instance id is the object id, constant over a scene's frames."""
        return panoptic_id(self.semantic.astype(np.uint16), self.instance)


class Renderer:
    """Renders frames of one size; precomputes what depends only on the camera.

    Args:
        width, height: pixels, at least 8.
        field_of_view: horizontal, degrees.
        noise: standard deviation of the sensor noise in 8-bit steps; 0 for none.
    """

    def __init__(self, width: int, height: int, *, field_of_view: float = DEFAULT_FIELD_OF_VIEW, noise: float = 2.0):
        self.intrinsics = Intrinsics.from_field_of_view(width, height, field_of_view)
        k = self.intrinsics
        self._x = ((np.arange(width) - k.cx) / k.fx).astype(np.float32)[None, :]
        self._y = ((np.arange(height) - k.cy) / k.fy).astype(np.float32)[:, None]
        radius2 = self._x**2 + self._y**2
        self._ray_length = np.sqrt(1 + radius2).reshape(-1)
        self._vignette = np.repeat((1 - 0.18 * radius2 / radius2.max())[..., None], 3, axis=2)
        self._noise = None
        if noise:
            shape = (height + NOISE_MARGIN, width + NOISE_MARGIN, 3)
            self._noise = np.random.default_rng(0).standard_normal(shape, dtype=np.float32) * np.float32(noise)

    def render(self, scene: Scene, time: float, noise_seed: int | Sequence[int] = 0) -> RenderedFrame:
        """Render `scene` at `time` seconds: `RenderedFrame`. `noise_seed` (int or sequence) draws the sensor noise."""
        pose = scene.camera_pose(time)
        solids = scene.solids(time)
        shape = (self.intrinsics.height, self.intrinsics.width)
        color = np.empty((3, shape[0] * shape[1]), np.float32)
        semantic, instance = np.empty(shape, np.uint8), np.zeros(shape, np.uint8)
        depth = np.empty(shape, np.float32)
        directions = self._directions(pose.rotation)
        pixel_angle = 1 / self.intrinsics.fx
        draw_backdrop(scene, pose, solids, directions, self._ray_length, pixel_angle, color, semantic, depth)
        self._things(scene, pose, solids, color, semantic, instance, depth)
        haze = np.where(semantic == SKY, np.float32(0), 1 - np.exp(depth * np.float32(-1 / HAZE_DISTANCE))).reshape(-1)
        for plane, tint in zip(color, HAZE, strict=True):
            plane += (tint - plane) * haze
        image = self._develop(cv2.merge([plane.reshape(shape) for plane in color]), noise_seed)
        return RenderedFrame(image, semantic, instance, depth, self.intrinsics, pose)

    def _directions(self, matrix, rows=slice(None), columns=slice(None)):
        """Ray directions times `matrix` (3, 3): three float32 (h, w) arrays."""
        m = matrix.tolist()
        x, y = self._x[:, columns], self._y[rows]
        return [x * m[i][0] + (y * m[i][1] + m[i][2]) for i in range(3)]

    def _things(self, scene, pose, solids, color, semantic, instance, depth):
        corners, corner_depth = project(solids.corners(), pose, self.intrinsics)
        low, high = np.floor(corners.min(axis=1)), np.ceil(corners.max(axis=1)) + 1
        behind = (corner_depth < NEAR).all(axis=1)
        whole = ~behind & (corner_depth < NEAR).any(axis=1)
        size = np.array([self.intrinsics.width, self.intrinsics.height])
        low[whole], high[whole] = 0, size
        low, high = np.clip(low, 0, size).astype(int), np.clip(high, 0, size).astype(int)
        seen = ~behind & (high > low).all(axis=1)
        to_local = solids.to_local()
        class_of_object = scene.class_of_object
        # Near ones first, so that hidden pixels are never shaded.
        for i in sorted(np.flatnonzero(seen), key=lambda i: corner_depth[i].min()):
            rows, columns = slice(low[i, 1], high[i, 1]), slice(low[i, 0], high[i, 0])
            at, t, local = self._hits(pose, solids, i, to_local[i], rows, columns, depth)
            if len(at):
                number = solids.object_id[i]
                for plane, value in ((depth, t), (instance, number), (semantic, class_of_object[number])):
                    plane.reshape(-1)[at] = value
                shades = self._shade(scene, solids, i, t, local, to_local[i].astype(np.float32))
                for plane, shade in zip(color, shades.T, strict=True):
                    plane[at] = shade

    def _hits(self, pose, solids, i, to_local, rows, columns, depth):
        """Pixels where solid `i` is nearer than `depth`: flat indices (n,), depths (n,) and local points (n, 3)."""
        origin = (to_local @ (pose.position - solids.centre[i])).tolist()
        direction = self._directions(to_local @ pose.rotation, rows, columns)
        distance = intersect(solids.kind[i], origin, direction)
        inside = np.flatnonzero(distance < depth[rows, columns])
        t = distance.reshape(-1)[inside]
        local = np.empty((len(inside), 3), np.float32)
        for axis in range(3):
            local[:, axis] = origin[axis] + t * direction[axis].reshape(-1)[inside]
        width, part = depth.shape[1], distance.shape[1]
        at = inside + inside // part * (width - part) + (rows.start * width + columns.start)
        return at, t, local

    def _shade(self, scene, solids, i, t, local, to_local):
        normal = local_normal(solids.kind[i], local) @ to_local
        normal /= np.sqrt(np.einsum("ij,ij->i", normal, normal))[:, None]
        half_size = np.linalg.norm(solids.axes[i], axis=1)
        albedo = _albedo(scene, solids.object_id[i], solids.part[i], local, half_size, t * (1 / self.intrinsics.fx))
        direct = np.maximum(normal @ scene.sun.astype(np.float32), 0)
        height = float(solids.centre[i, 2]) + local @ solids.axes[i, :, 2].astype(np.float32)
        # Less sky light reaches surfaces that face down or are just above the floor.
        sky = (0.72 + 0.28 * normal[:, 2]) * (0.6 + 0.4 * np.minimum(np.maximum(height, 0) / 0.3, 1))
        colors = np.stack([scene.ambient_color, scene.sun_color]).astype(np.float32)
        return albedo * (np.stack([sky, direct], axis=1) @ colors)

    def _develop(self, color, noise_seed):
        """Lens, exposure curve and sensor: linear float32 (H, W, 3) to uint8."""
        color = cv2.GaussianBlur(color, (3, 3), LENS_BLUR)
        color *= self._vignette
        np.clip(color, 0, 1, out=color)
        image = np.sqrt(color, out=color)
        image *= 255
        if self._noise is not None:
            y, x = np.random.default_rng(noise_seed).integers(0, NOISE_MARGIN, 2)
            image += self._noise[y : y + image.shape[0], x : x + image.shape[1]]
        image += 0.5
        return np.clip(image, 0, 255, out=image).astype(np.uint8)


def _albedo(scene, number, part, local, half_size, footprint):
    if number > len(scene.items):
        return materials.person_color(
            part, local, half_size, scene.people[number - len(scene.items) - 1].colors, footprint
        )
    item = scene.items[number - 1]
    paint = materials.box_color if item.class_id == BOX_CLASS else materials.cylinder_color
    return paint(local, half_size, item.color, item.style, footprint)
