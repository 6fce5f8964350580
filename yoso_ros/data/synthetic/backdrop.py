# SPDX-License-Identifier: Apache-2.0
"""Floor, walls and sky of a scene: what every ray hits if no thing is in its way.

Legend: `H W` frame size, `n` pixels of one surface; colour planes are float32 (3, H * W), linear light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from yoso_ros.data.synthetic.scene import FLOOR, SKY, WALL
from yoso_ros.data.synthetic.shadows import floor_light, sample_floor_light
from yoso_ros.data.synthetic.textures import cloud_texture, surface_texture

if TYPE_CHECKING:
    from yoso_ros.data.synthetic.camera import Pose
    from yoso_ros.data.synthetic.scene import Scene
    from yoso_ros.data.synthetic.shapes import Solids

COPING_HEIGHT = 0.12  # metres, the darker row on top of a wall
ZENITH = (0.12, 0.30, 0.70)
HORIZON_GAIN = (0.35, 0.35, 0.22)
CLOUD_BRIGHTNESS = 0.85


def draw_backdrop(
    scene: Scene,
    pose: Pose,
    solids: Solids,
    directions: list[np.ndarray],
    ray_length: np.ndarray,
    pixel_angle: float,
    color: np.ndarray,
    semantic: np.ndarray,
    depth: np.ndarray,
) -> None:
    """Fill colour, class and depth of every pixel with the floor, wall or sky behind it.

    Args:
        scene, pose, solids: `Scene`, `Pose` and the `Solids` that cast shadows.
        directions: three float32 (H, W), world ray directions per metre of depth.
        ray_length: float32 (H * W,), their norm.
        pixel_angle: metres per pixel at one metre of depth.
        color: float32 (3, H * W), semantic: uint8 (H, W), depth: float32 (H, W); written.
    """
    dx, dy, dz = directions
    px, py, pz = pose.position.tolist()
    half_x, half_y = scene.half_size
    with np.errstate(divide="ignore"):
        to_floor = np.where(dz < 0, -pz / dz, np.float32(np.inf))
        to_x = (np.copysign(np.float32(half_x), dx) - px) / dx
        to_y = (np.copysign(np.float32(half_y), dy) - py) / dy
    to_wall = np.minimum(to_x, to_y)
    np.minimum(to_floor, to_wall, out=depth)
    semantic[:] = np.where(to_floor < to_wall, FLOOR, WALL)
    sky = pz + depth * dz > scene.wall_height
    semantic[sky], depth[sky] = SKY, np.inf

    rays = [d.reshape(-1) for d in directions]
    depth = depth.reshape(-1)
    _floor(scene, solids, pose, rays, depth, ray_length, pixel_angle, color, np.flatnonzero(semantic == FLOOR))
    on_x = (to_x < to_y).reshape(-1)
    _wall(scene, pose, rays, on_x, depth, ray_length, pixel_angle, color, np.flatnonzero(semantic == WALL))
    _sky(rays, ray_length, color, np.flatnonzero(sky))


def _floor(scene, solids, pose, rays, depth, ray_length, pixel_angle, color, at):
    px, py, _ = pose.position.tolist()
    t = depth[at]
    x, y = px + t * rays[0][at], py + t * rays[1][at]
    footprint = t * pixel_angle * np.sqrt(ray_length[at] / -rays[2][at])
    tone = surface_texture(scene.floor_style).sample(x, y, footprint)
    sunlit = tone * sample_floor_light(floor_light(scene, solids), scene.half_size, x, y)
    for plane, albedo, ambient, sun in zip(color, scene.floor_color, scene.ambient_color, scene.sun_color, strict=True):
        plane[at] = tone * float(albedo * ambient) + sunlit * float(albedo * sun * scene.sun[2])


def _wall(scene, pose, rays, on_x, depth, ray_length, pixel_angle, color, at):
    px, py, pz = pose.position.tolist()
    t, on_x = depth[at], on_x[at]
    dx, dy = rays[0][at], rays[1][at]
    z = pz + t * rays[2][at]
    toward = np.where(on_x, dx, dy)
    footprint = t * pixel_angle * np.sqrt(ray_length[at] / np.abs(toward))
    tone = surface_texture(scene.wall_style).sample(np.where(on_x, py + t * dy, px + t * dx), z, footprint)
    tone *= 0.55 + 0.45 * np.minimum(z * 2, 1)  # less light reaches the foot of a wall
    tone[z > scene.wall_height - COPING_HEIGHT] *= 0.6
    sun_x, sun_y = scene.sun[:2].astype(np.float32)
    sunlit = tone * np.maximum(-np.sign(toward) * np.where(on_x, sun_x, sun_y), 0)
    for plane, albedo, ambient, sun in zip(color, scene.wall_color, scene.ambient_color, scene.sun_color, strict=True):
        plane[at] = tone * float(albedo * ambient * 0.9) + sunlit * float(albedo * sun)


def _sky(rays, ray_length, color, at):
    up = rays[2][at] / ray_length[at]
    flat = 0.5 / (up + 0.15)
    cover = cloud_texture().sample(rays[0][at] * flat, rays[1][at] * flat, np.full_like(up, 0.02))
    for plane, zenith, gain in zip(color, ZENITH, HORIZON_GAIN, strict=True):
        blue = zenith + (1 - up) * gain
        plane[at] = blue + (CLOUD_BRIGHTNESS - blue) * cover
