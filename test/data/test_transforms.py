# SPDX-License-Identifier: Apache-2.0
"""Transforms: image and ids stay aligned, sizes and value rules of the recipes hold, and seeds reproduce."""

import cv2
import numpy as np
import pytest
from PIL import Image

from yoso_ros.data.samples import PanopticSample
from yoso_ros.data.transforms import (
    ColorDistortion,
    LargeScaleJitter,
    RandomCrop,
    RandomFlip,
    RandomShortestEdge,
    apply_transforms,
    resize_image,
    resize_sample,
)

HEIGHT, WIDTH = 200, 251
BIG_ID = 1 << 23  # ids that float32 could not hold beside their neighbours


def ramp_sample():
    """Red rises with x and green with y over the whole range; ids hold the pixel's place, x + 1 + 2**12 y + 2**23."""
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    image = (
        np.stack([255 * x / (WIDTH - 1), 255 * y / (HEIGHT - 1), np.zeros_like(x)], axis=-1).round().astype(np.uint8)
    )
    return PanopticSample(image, (x + 1 + (y << 12) + BIG_ID).astype(np.int32), [], 0, "ramp")


def misalignment(sample):
    """Distance in source pixels between where ids and colours of labelled pixels come from: (largest, largest mean)."""
    labelled = sample.ids != 0
    place = sample.ids[labelled].astype(np.int64) - BIG_ID
    x, y = (place & 4095) - 1, place >> 12
    red, green = sample.image[labelled][:, 0].astype(float), sample.image[labelled][:, 1].astype(float)
    dx, dy = red * (WIDTH - 1) / 255 - x, green * (HEIGHT - 1) / 255 - y
    inside = (x > 25) & (x < WIDTH - 26) & (y > 25) & (y < HEIGHT - 26)  # antialiasing bends the ramp at its ends
    assert inside.any()
    return max(np.abs(dx[inside]).max(), np.abs(dy[inside]).max()), max(abs(dx[inside].mean()), abs(dy[inside].mean()))


def assert_aligned(sample):
    # the nearest centre is at most half a source pixel away, and the 8-bit colours round twice by another half;
    # over the image these cancel but for ties of the nearest centre, while a shift would not
    worst, mean = misalignment(sample)
    assert worst <= 1.5 and mean <= 0.3


@pytest.mark.parametrize("size", [(200, 251), (300, 177), (80, 100), (467, 251), (400, 502)])
def test_resize_keeps_image_and_ids_aligned(size):
    assert_aligned(resize_sample(ramp_sample(), *size))


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize(
    "transforms",
    [
        [LargeScaleJitter(height=160, width=192, min_scale=0.6), RandomFlip()],
        [
            RandomShortestEdge(edges=(150, 200, 260), longest=400),
            RandomCrop(height=128, width=160),
            RandomFlip(probability=0),
        ],
    ],
)
def test_random_transforms_keep_alignment(transforms, seed):
    sample = apply_transforms(transforms, ramp_sample(), np.random.default_rng(seed))
    assert sample.image.shape[:2] == sample.ids.shape
    assert sample.image.dtype == np.uint8 and sample.ids.dtype == np.int32
    assert_aligned(sample)


def test_alignment_test_sees_a_shift_of_one_pixel():
    sample = ramp_sample()
    shifted = PanopticSample(np.roll(sample.image, 1, axis=1), sample.ids, [], 0, "shifted")
    with pytest.raises(AssertionError):
        assert_aligned(shifted)


def test_image_resize_equals_pillow():
    image = np.random.default_rng(0).integers(0, 256, (97, 131, 3), dtype=np.uint8)
    for height, width in ((31, 40), (97, 60), (200, 300)):
        expected = np.asarray(Image.fromarray(image).resize((width, height), Image.BILINEAR)).astype(int)
        assert np.abs(resize_image(image, height, width) - expected).max() <= 1


def test_jitter_has_the_fixed_size_and_pads_with_void():
    sizes = []
    for seed in range(60):
        sample = LargeScaleJitter(height=100, width=120)(ramp_sample(), np.random.default_rng(seed))
        assert sample.ids.shape == (100, 120) and sample.image.shape == (100, 120, 3)
        void = sample.ids == 0
        assert (sample.image[void] == 128).all()
        sizes.append(int((~void).any(axis=0).sum()))  # columns that hold image
    # scale s makes the image min(100 s / 200, 120 s / 251) = s * 0.478 of its size: 12 to 240 columns, cut at 120
    assert min(sizes) < 30 and max(sizes) == 120 and min(sizes) >= 12


def test_crop_avoids_a_dominating_category():
    ids = np.ones((100, 200), dtype=np.int32)
    ids[:, 100:] = 2
    segments = [{"id": 1, "category_id": 7}, {"id": 2, "category_id": 9}]
    sample = PanopticSample(np.zeros((100, 200, 3), np.uint8), ids, segments, 0, "halves")

    def mixed_share(ratio):
        crops = [
            RandomCrop(height=40, width=40, max_category_ratio=ratio)(sample, np.random.default_rng(s))
            for s in range(80)
        ]
        return np.mean([0.25 <= (c.ids == 1).mean() <= 0.75 for c in crops])

    assert mixed_share(1.0) < 0.4  # 20 of 161 places are mixed
    assert mixed_share(0.75) > 0.6


def test_flip_mirrors_both():
    sample = ramp_sample()
    flipped = RandomFlip(probability=1)(sample, np.random.default_rng(0))
    np.testing.assert_array_equal(flipped.image, cv2.flip(sample.image, 1))
    np.testing.assert_array_equal(flipped.ids, sample.ids[:, ::-1])


def literal_distortion(image, brightness, contrast, saturation, hue, contrast_first):
    """The recipe in floating point, pixel values clipped and truncated after each step."""

    def clip(values):
        return np.clip(values, 0, 255).astype(np.uint8)

    image = clip(image.astype(np.float64) + brightness)
    if contrast_first:
        image = clip(image * contrast)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 1] = clip(hsv[..., 1] * saturation)
    hsv[..., 0] = (hsv[..., 0].astype(int) + hue) % 180
    if saturation != 1 or hue:
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return image if contrast_first else clip(image * contrast)


class ScriptedGenerator:
    """A generator whose draws are given: chances for `random`, then the amounts."""

    def __init__(self, chances, amounts):
        self.chances, self.amounts = list(chances), list(amounts)

    def random(self):
        return self.chances.pop(0)

    def uniform(self, low, high):
        assert low <= self.amounts[0] <= high
        return self.amounts.pop(0)

    def integers(self, low, high):
        assert low <= self.amounts[0] < high
        return self.amounts.pop(0)


@pytest.mark.parametrize("contrast_first", [True, False])
def test_color_distortion_equals_the_literal_steps(contrast_first):
    image = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    sample = PanopticSample(image, np.zeros((40, 50), np.int32), [], 0, "noise")
    chances = [0.0 if contrast_first else 0.9, 0.0, 0.0, 0.0, 0.0]
    result = ColorDistortion()(sample, ScriptedGenerator(chances, [-20.5, 1.4, 0.6, -18]))
    np.testing.assert_array_equal(result.image, literal_distortion(image, -20.5, 1.4, 0.6, -18, contrast_first))
    unchanged = ColorDistortion()(sample, ScriptedGenerator([0.0, 0.9, 0.9, 0.9, 0.9], []))
    np.testing.assert_array_equal(unchanged.image, image)


def test_same_seed_same_result():
    transforms = [LargeScaleJitter(height=96, width=96), ColorDistortion(), RandomFlip()]
    first, second, other = (apply_transforms(transforms, ramp_sample(), np.random.default_rng(s)) for s in (5, 5, 6))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.ids, second.ids)
    assert not np.array_equal(first.image, other.image)
