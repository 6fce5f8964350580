# SPDX-License-Identifier: Apache-2.0
"""Tileable surface textures with averaged levels (mipmaps), so that a distant floor neither flickers nor shows moire.

Legend: `S` texture edge in texels; values are linear light, float32, 1 = the surface's own colour.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from yoso_ros.errors import InputError

S = 512
TEXELS_PER_METRE = 96
FLOOR_STYLES = ("tiles", "planks", "concrete", "checker")
WALL_STYLES = ("bricks", "plaster", "panels", "blocks")


class Texture:
    """A square texture that repeats in both directions, sampled by coordinates in metres."""

    def __init__(self, image: np.ndarray):
        """Args: image: float32 (S, S), grey, linear light; S a power of two."""
        levels = [image]
        while levels[-1].shape[0] > 1:
            a = levels[-1]
            levels.append((a[0::2, 0::2] + a[1::2, 0::2] + a[0::2, 1::2] + a[1::2, 1::2]) * 0.25)
        self._texels = np.concatenate([level.reshape(-1) for level in levels]).astype(np.float32)
        sizes = [level.shape[0] for level in levels]
        self._offset = np.cumsum([0] + [s * s for s in sizes[:-1]]).astype(np.int32)
        self._bits = int(np.log2(S))

    def sample(self, u: np.ndarray, v: np.ndarray, footprint: np.ndarray) -> np.ndarray:
        """Texels at `u`, `v` (metres, float32 (n,)), averaged over about `footprint` (n,) metres: float32 (n,)."""
        level = np.log2(np.maximum(footprint * TEXELS_PER_METRE, 1.0)).astype(np.int32)
        np.minimum(level, self._bits, out=level)
        column = (np.floor(u * TEXELS_PER_METRE).astype(np.int32) & (S - 1)) >> level
        row = (np.floor(v * TEXELS_PER_METRE).astype(np.int32) & (S - 1)) >> level
        return self._texels.take(self._offset[level] + (row << (self._bits - level)) + column)


def fractal_noise(seed: int | Sequence[int], slope: float, stretch: float = 1.0) -> np.ndarray:
    """Tileable noise with amplitude ~ frequency^-slope, scaled to mean 0 and standard deviation 1: float32 (S, S)."""
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(S)[:, None] * S, np.fft.rfftfreq(S)[None, :] * S
    frequency = np.hypot(fy, fx * stretch)
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((S, S))) * frequency**-slope, s=(S, S))
    return (noise / noise.std()).astype(np.float32)


@functools.lru_cache
def noise_texture() -> Texture:
    """Grey noise with mean 1 for cloth, paint and cardboard."""
    return Texture(np.clip(1 + 0.07 * fractal_noise(1, 0.9), 0.5, 1.5))


@functools.lru_cache
def cloud_texture() -> Texture:
    """Cloud cover 0..1, soft."""
    return Texture(np.clip(0.35 + 0.3 * fractal_noise(2, 1.5), 0, 1))


def _grid(rows, columns, shift, joint):
    """Index of the cell at each texel and a mask of the joints; odd rows are shifted by `shift` cells."""
    y, x = np.mgrid[0:S, 0:S]
    row = y * rows // S
    x = (x + (row % 2) * int(shift * S / columns)) % S
    column = x * columns // S
    edge = (y % (S // rows) < joint) | (x % (S // columns) < joint)
    return row * columns + column, edge


def _cells(rows, columns, shift, joint, variation, joint_level, noise, seed):
    cell, edge = _grid(rows, columns, shift, joint)
    tint = np.random.default_rng(seed).uniform(1 - variation, 1 + variation, rows * columns)[cell]
    return np.where(edge, joint_level, tint * (1 + noise))


@functools.lru_cache
def surface_texture(style: str) -> Texture:
    """Grey texture of a floor or wall style, mean about 0.9; a scene multiplies it by its own colour."""
    rough, fine = fractal_noise(3, 1.0), fractal_noise(4, 0.6)
    if style == "tiles":
        image = _cells(8, 8, 0, 4, 0.10, 0.45, 0.05 * rough, 5)
    elif style == "planks":
        image = _cells(32, 4, 0.37, 2, 0.22, 0.30, 0.12 * fractal_noise(6, 1.0, stretch=9.0), 7)
    elif style == "checker":
        cell, edge = _grid(8, 8, 0, 2)
        image = np.where(edge, 0.5, np.where((cell // 8 + cell % 8) % 2, 0.45, 1.05) * (1 + 0.05 * rough))
    elif style == "concrete":
        image = 0.9 + 0.10 * rough + 0.05 * fine
    elif style == "bricks":
        image = _cells(64, 16, 0.5, 2, 0.25, 1.25, 0.08 * fine, 8)
    elif style == "blocks":
        image = _cells(16, 8, 0.5, 3, 0.10, 0.55, 0.07 * rough, 9)
    elif style == "panels":
        image = _cells(2, 4, 0, 5, 0.06, 0.40, 0.03 * rough, 10)
    elif style == "plaster":
        image = 0.92 + 0.07 * rough + 0.04 * fine
    else:
        raise InputError(f"unknown style {style!r}; known: {', '.join(FLOOR_STYLES + WALL_STYLES)}")
    return Texture(np.clip(image, 0.05, 1.4).astype(np.float32))
