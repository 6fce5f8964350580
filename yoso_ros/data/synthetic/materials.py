# SPDX-License-Identifier: Apache-2.0
"""Colours of object surfaces from local coordinates: cardboard edges and tape, painted bands, skin, hair and cloth.

Legend: `n` surface points; `local` float32 (n, 3) in the unit solid; colours float32 (n, 3), linear light.
"""

import numpy as np

from yoso_ros.data.synthetic.people import FOOT, FOREARM, HEAD, HIPS, NECK, SHIN, THIGH
from yoso_ros.data.synthetic.textures import noise_texture

_SHOES = np.array([0.02, 0.02, 0.025], np.float32)


def box_color(
    local: np.ndarray, half_size: np.ndarray, color: np.ndarray, style: int, footprint: np.ndarray
) -> np.ndarray:
    """Cardboard (style 0, with tape), painted crate (1) or plain (2); the edges are worn."""
    x, y, z = np.abs(local).T
    # One coordinate is 1 on a face; where the next one is near 1 too, there is an edge.
    second = np.maximum(np.minimum(x, y), np.minimum(np.maximum(x, y), z))
    half = np.asarray(half_size, np.float32)
    tone = noise_texture().sample(local[:, 0] * half[0] + local[:, 2] * half[2], local[:, 1] * half[1], footprint)
    tone *= np.where(second > 0.93, 0.72, 1.0).astype(np.float32)
    if style == 1:
        slats = (np.floor((local[:, 2] + 1) * 2.5).astype(np.int32) & 1) * 0.18 + 0.85
        tone *= slats.astype(np.float32)
    albedo = tone[:, None] * color.astype(np.float32)
    if style == 0:
        tape = (np.abs(local[:, 0]) < 0.11) & (np.abs(local[:, 1]) < 1.01) & (local[:, 2] > 0.55)
        albedo[tape] = albedo[tape] * 0.5 + 0.25
    return albedo


def cylinder_color(
    local: np.ndarray, half_size: np.ndarray, color: np.ndarray, style: int, footprint: np.ndarray
) -> np.ndarray:
    """Barrel with ribs (style 0), post with white bands (1) or plain drum with a dark rim (2)."""
    radius, half_height = float(half_size[0]), float(half_size[2])
    angle = np.arctan2(local[:, 1], local[:, 0])
    tone = noise_texture().sample(angle * np.float32(radius), local[:, 2] * np.float32(half_height), footprint)
    z = local[:, 2]
    cap = np.square(local[:, :2]).sum(axis=1) < 0.95
    albedo = tone[:, None] * color.astype(np.float32)
    if style == 0:
        ribs = (np.abs(np.abs(z) - 0.36) < 0.05) & ~cap
        albedo[ribs] *= 0.55
    elif style == 1:
        bands = ((np.abs(z - 0.5) < 0.16) | (np.abs(z + 0.3) < 0.16)) & ~cap
        albedo[bands] = tone[bands, None] * np.float32(0.72)
    albedo[cap | (np.abs(z) > 0.94)] *= 0.7
    return albedo


def person_color(
    part: int, local: np.ndarray, half_size: np.ndarray, colors: np.ndarray, footprint: np.ndarray
) -> np.ndarray:
    """Skin, hair (crown and back of the head), shirt, trousers and shoes by the part of the body."""
    skin, hair, shirt, trousers = colors.astype(np.float32)
    if part == HEAD:
        is_hair = (local[:, 2] > 0.42) | ((_forward(local) < -0.15) & (local[:, 2] > -0.45))
        return np.where(is_hair[:, None], hair, skin)
    if part in (NECK, FOREARM):
        base = skin
    elif part in (HIPS, THIGH, SHIN):
        base = trousers
    else:
        base = _SHOES if part == FOOT else shirt
    half = np.asarray(half_size, np.float32)
    tone = noise_texture().sample(local[:, 0] * half[0], local[:, 2] * half[2], footprint)
    return tone[:, None] * base


def _forward(local):
    """How much a point of the head faces forward: axis 1 of `shapes.limbs` is up x left, which is backward."""
    return -local[:, 1]
