# SPDX-License-Identifier: Apache-2.0
"""Lighting, weather and camera faults: transforms of the image alone, for conditions that a data set lacks.

Legend: `H W` size of the image in pixels. Each transform is `(sample, rng) -> sample`; ids never change.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from yoso_ros.data.samples import PanopticSample


@dataclass(frozen=True, kw_only=True)
class Lighting:
    """Time of day: exposure and gamma from night to glare, the colour of the light, and a light from one side.

    Attributes:
        probability: of any change.
        gamma: minimum and maximum exponent; above 1 is darker.
        warmth: maximum relative increase of red and decrease of blue, or vice versa.
        slope: maximum relative change of brightness from one side to the other.
    """

    probability: float
    gamma: tuple[float, float] = (0.5, 2.6)
    warmth: float = 0.3
    slope: float = 0.5

    def __call__(self, sample: PanopticSample, rng: np.random.Generator) -> PanopticSample:
        if rng.random() >= self.probability:
            return sample
        gamma = float(np.exp(rng.uniform(*np.log(self.gamma))))
        warm, slope, angle = (
            rng.uniform(-self.warmth, self.warmth),
            rng.uniform(0, self.slope),
            rng.uniform(0, 2 * np.pi),
        )
        linear = (np.arange(256) / 255.0) ** gamma
        # At night little colour is left for a warm or cold tint.
        tables = np.stack([linear * (1 + warm), linear, linear * (1 - warm)], axis=-1)
        image = cv2.LUT(sample.image, np.clip(255 * tables, 0, 255).astype(np.uint8)[None])
        height, width = image.shape[:2]
        across = np.cos(angle) * np.linspace(-1, 1, width)[None] + np.sin(angle) * np.linspace(-1, 1, height)[:, None]
        light = (1 + slope / 2 * across).astype(np.float32)[..., None]
        return replace(sample, image=np.clip(image * light, 0, 255).astype(np.uint8))


@dataclass(frozen=True, kw_only=True)
class Weather:
    """Fog, thicker towards the top of the image where distant things are, or streaks of rain.

    Attributes:
        probability: of either.
        thickest_fog: maximum opacity of the fog, at the top of the image.
        most_drops: maximum number of streaks per 1000 pixels.
    """

    probability: float
    thickest_fog: float = 0.75
    most_drops: float = 3.0

    def __call__(self, sample: PanopticSample, rng: np.random.Generator) -> PanopticSample:
        if rng.random() >= self.probability:
            return sample
        image = self._fog(sample.image, rng) if rng.random() < 0.5 else self._rain(sample.image, rng)
        return replace(sample, image=image)

    def _fog(self, image, rng):
        height = len(image)
        top, grey = rng.uniform(0.1, self.thickest_fog), rng.uniform(140, 230)
        bottom = top * rng.uniform(0.0, 0.5)
        hidden = np.linspace(top, bottom, height, dtype=np.float32)[:, None, None]
        return (image * (1 - hidden) + grey * hidden).astype(np.uint8)

    def _rain(self, image, rng):
        height, width = image.shape[:2]
        count = int(rng.uniform(0.2, self.most_drops) * height * width / 1000)
        length, slant = rng.uniform(0.02, 0.06) * height, rng.uniform(-0.4, 0.4)
        starts = rng.uniform([0, 0], [width, height], (count, 2))
        ends = starts + [slant * length, length]
        streaks = np.zeros((height, width), np.uint8)
        lines = np.stack([starts, ends], axis=1).round().astype(np.int32)
        cv2.polylines(streaks, list(lines), False, 255, 1)
        streaks = cv2.GaussianBlur(streaks, (3, 3), 0).astype(np.float32)[..., None] / 255 * rng.uniform(0.3, 0.7)
        dull = cv2.convertScaleAbs(image, alpha=0.85, beta=10)
        return (dull * (1 - streaks) + 215 * streaks).astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class CameraFaults:
    """Camera faults: sensor noise, motion or focus blur, JPEG artefacts; each with half the probability.

    Attributes:
        probability: twice that of each.
        noise: maximum standard deviation, in steps of 255.
        blur: maximum length of the blur as a fraction of the image height.
        quality: minimum JPEG quality.
    """

    probability: float
    noise: float = 12.0
    blur: float = 0.02
    quality: int = 25

    def __call__(self, sample: PanopticSample, rng: np.random.Generator) -> PanopticSample:
        image = sample.image
        if rng.random() < self.probability / 2:
            image = self._blurred(image, rng)
        if rng.random() < self.probability / 2:
            grain = rng.normal(0, rng.uniform(1, self.noise), image.shape).astype(np.float32)
            image = np.clip(image + grain, 0, 255).astype(np.uint8)
        if rng.random() < self.probability / 2:
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(self.quality, 90))]
            image = cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_UNCHANGED)
        return replace(sample, image=image)

    def _blurred(self, image, rng):
        length = 1 + 2 * int(rng.uniform(0.5, max(1.0, self.blur * len(image) / 2)))
        if rng.random() < 0.5:
            return cv2.GaussianBlur(image, (0, 0), length / 4)
        kernel = np.zeros((length, length), np.float32)
        kernel[length // 2] = 1
        turn = cv2.getRotationMatrix2D((length // 2, length // 2), rng.uniform(0, 180), 1)
        kernel = cv2.warpAffine(kernel, turn, (length, length))
        return cv2.filter2D(image, -1, kernel / kernel.sum())
