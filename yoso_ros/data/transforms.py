# SPDX-License-Identifier: Apache-2.0
"""Training transforms of the papers' recipes: sample to sample, with an explicit numpy Generator.

YOSO's recipes: COCO large-scale jitter; Cityscapes, ADE20K and Mapillary shortest-edge choice, crop and SSD colour
distortion; all with a horizontal flip. RealTimePan's: a crop that is then scaled, or a shortest-edge choice alone.
Image and ids are always transformed together; `segments` of the sample is not changed, so its areas and boxes are those
of the whole image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from torch.nn import functional

from yoso_ros.data.samples import VOID_ID
from yoso_ros.models.config import network_size

if TYPE_CHECKING:
    from yoso_ros.data.samples import PanopticSample

CROP_TRIALS = 10  # attempts to find a crop without a dominating category before the last one is used
PAD_VALUE = 128  # grey, close to the mean colour, which is zero after normalisation


def resize_sample(sample: PanopticSample, height: int, width: int) -> PanopticSample:
    """Resize to (height, width): the image bilinearly with antialiasing, the ids to the nearest with equal centres."""
    return replace(sample, image=resize_image(sample.image, height, width), ids=resize_ids(sample.ids, height, width))


def resize_image(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear with antialiasing, like Pillow (within 1 of 255): uint8 (H, W, 3) to (height, width, 3)."""
    if image.shape[:2] == (height, width):
        return image
    batch = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    resized = functional.interpolate(batch, (height, width), mode="bilinear", antialias=True, align_corners=False)
    return np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy())


def resize_ids(ids: np.ndarray, height: int, width: int) -> np.ndarray:
    """Nearest pixel centre, the convention of the bilinear images: int32 (H, W) to (height, width)."""
    return cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def apply_transforms(
    transforms: Sequence[Callable[..., Any]], sample: PanopticSample, rng: np.random.Generator
) -> PanopticSample:
    """Apply each transform in order: `transform(sample, rng) -> sample` with a numpy.random.Generator."""
    for transform in transforms:
        sample = transform(sample, rng)
    return sample


@dataclass(frozen=True, kw_only=True)
class LargeScaleJitter:
    """Scale so that the image fits `scale * (height, width)`, then crop randomly or pad to (height, width).

    The scale is uniform in [min_scale, max_scale]; padding is at the right and bottom. Source: COCO recipe of the YOSO
    paper, after Ghiasi et al., CVPR 2021.
    """

    height: int = 1024
    width: int = 1024
    min_scale: float = 0.1
    max_scale: float = 2.0
    pad_value: int = PAD_VALUE

    def __call__(self, sample: PanopticSample, rng: np.random.Generator) -> PanopticSample:
        height, width = sample.ids.shape
        scale = rng.uniform(self.min_scale, self.max_scale)
        factor = min(scale * self.height / height, scale * self.width / width)
        size = max(1, round(height * factor)), max(1, round(width * factor))
        cropped = random_window(resize_sample(sample, *size), self.height, self.width, rng)
        return pad_sample(cropped, self.height, self.width, self.pad_value)


@dataclass(frozen=True, kw_only=True)
class RandomShortestEdge:
    """Resize the shortest edge to one of `edges`, chosen at random, the longest to at most `longest`."""

    edges: tuple[int, ...]
    longest: int

    def __call__(self, sample: PanopticSample, rng: np.random.Generator) -> PanopticSample:
        return resize_sample(sample, *network_size(*sample.ids.shape[:2], int(rng.choice(self.edges)), self.longest))


@dataclass(frozen=True, kw_only=True)
class RandomScale:
    """Scale both sides by a factor that is uniform in [smallest, largest] (RealTimePan, section 5.3)."""

    smallest: float
    largest: float

    def __call__(self, sample: PanopticSample, rng: np.random.Generator) -> PanopticSample:
        factor = rng.uniform(self.smallest, self.largest)
        return resize_sample(sample, *(max(1, round(side * factor)) for side in sample.ids.shape))


@dataclass(frozen=True, kw_only=True)
class RandomCrop:
    """A random window of (height, width), or of the whole side if the image is smaller.

    With `max_category_ratio` below 1, a window in which one category has more than that share of the labelled pixels,
    or which has only one category, is redrawn up to ten times.
    """

    height: int
    width: int
    max_category_ratio: float = 1.0

    def __call__(self, sample: PanopticSample, rng: np.random.Generator) -> PanopticSample:
        for _ in range(CROP_TRIALS):
            window = random_window(sample, self.height, self.width, rng)
            if self.max_category_ratio >= 1.0 or _largest_category_share(window) < self.max_category_ratio:
                break
        return window


@dataclass(frozen=True, kw_only=True)
class RandomFlip:
    """Flip horizontally with the given probability."""

    probability: float = 0.5

    def __call__(self, sample: PanopticSample, rng: np.random.Generator) -> PanopticSample:
        if rng.random() >= self.probability:
            return sample
        return replace(
            sample, image=np.ascontiguousarray(sample.image[:, ::-1]), ids=np.ascontiguousarray(sample.ids[:, ::-1])
        )


@dataclass(frozen=True, kw_only=True)
class ColorDistortion:
    """SSD colour distortion (Liu et al., ECCV 2016): brightness, contrast, saturation, hue, each with probability 1/2.

    Contrast comes right after brightness or at the very end, with equal chance. Brightness in grey levels, contrast and
    saturation as factors, hue in OpenCV degrees (half degrees, 0..179).
    """

    brightness: float = 32.0
    contrast: tuple[float, float] = (0.5, 1.5)
    saturation: tuple[float, float] = (0.5, 1.5)
    hue: int = 18

    def __call__(self, sample: PanopticSample, rng: np.random.Generator) -> PanopticSample:
        image = sample.image
        contrast_first = rng.random() < 0.5
        if rng.random() < 0.5:
            image = cv2.LUT(image, _linear_table(1.0, rng.uniform(-self.brightness, self.brightness)))
        contrast = rng.uniform(*self.contrast) if rng.random() < 0.5 else 1.0
        if contrast_first and contrast != 1.0:
            image = cv2.LUT(image, _linear_table(contrast, 0.0))
        saturation = rng.uniform(*self.saturation) if rng.random() < 0.5 else 1.0
        hue = int(rng.integers(-self.hue, self.hue + 1)) if rng.random() < 0.5 else 0
        if saturation != 1.0 or hue != 0:
            image = _change_hsv(image, saturation, hue)
        if not contrast_first and contrast != 1.0:
            image = cv2.LUT(image, _linear_table(contrast, 0.0))
        return replace(sample, image=image)


def random_window(sample: PanopticSample, height: int, width: int, rng: np.random.Generator) -> PanopticSample:
    """A window of at most (height, width) at a uniformly random position."""
    top = int(rng.integers(max(sample.ids.shape[0] - height, 0) + 1))
    left = int(rng.integers(max(sample.ids.shape[1] - width, 0) + 1))
    window = (slice(top, top + height), slice(left, left + width))
    return replace(
        sample, image=np.ascontiguousarray(sample.image[window]), ids=np.ascontiguousarray(sample.ids[window])
    )


def pad_sample(sample: PanopticSample, height: int, width: int, pad_value: int = PAD_VALUE) -> PanopticSample:
    """Pad at the right and bottom to at least (height, width): the image with `pad_value`, the ids with void."""
    below, right = max(height - sample.ids.shape[0], 0), max(width - sample.ids.shape[1], 0)
    if not below and not right:
        return sample
    image = np.pad(sample.image, ((0, below), (0, right), (0, 0)), constant_values=pad_value)
    return replace(sample, image=image, ids=np.pad(sample.ids, ((0, below), (0, right)), constant_values=VOID_ID))


def _largest_category_share(sample):
    """Share of the largest category among the labelled pixels; 1 if there are none."""
    category_of = {segment["id"]: segment["category_id"] for segment in sample.segments}
    counts = {}
    for segment_id, count in zip(*np.unique(sample.ids, return_counts=True), strict=True):
        if segment_id != VOID_ID:
            category = category_of[int(segment_id)]
            counts[category] = counts.get(category, 0) + int(count)
    return max(counts.values()) / sum(counts.values()) if counts else 1.0


def _linear_table(factor, offset):
    return np.clip(np.arange(256) * factor + offset, 0, 255).astype(np.uint8)


def _change_hsv(image, saturation, hue):
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    levels = np.arange(256)
    tables = np.stack([(levels + hue) % 180, np.clip(levels * saturation, 0, 255), levels], axis=-1)
    return cv2.cvtColor(cv2.LUT(hsv, tables.astype(np.uint8)[None]), cv2.COLOR_HSV2RGB)
