# SPDX-License-Identifier: Apache-2.0
"""Resize rule, padding and frame checks of the network input."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from yoso_ros.inference.preprocess import (
    batch_frames,
    batch_on_device,
    check_frame,
    resize_frame,
    resize_on_device,
)
from yoso_ros.models.config import network_size

MEAN = (123.675, 116.28, 103.53)


@pytest.mark.parametrize(
    ("size", "edges", "expected"),
    [
        ((480, 640), (800, 1333), (800, 1067)),  # COCO's usual frame
        ((427, 640), (800, 1333), (800, 1199)),
        ((720, 1280), (800, 1333), (750, 1333)),  # the longest edge decides
        ((1024, 2048), (512, 1024), (512, 1024)),
        ((360, 480), (360, 640), (360, 480)),
        ((427, 1280), (800, 1333), (445, 1333)),
        ((1, 1), (800, 1333), (800, 800)),
        ((1, 5000), (800, 1333), (1, 1333)),
    ],
)
def test_resize_rule(size, edges, expected):
    assert network_size(*size, *edges) == expected


@pytest.mark.parametrize("size", [(20, 31), (60, 31), (20, 90), (97, 140), (1, 1), (61, 45)])
def test_resize_is_pillows_antialiased_bilinear(size):
    """Within a grey level in noise, the worst that there is; in a smooth picture nearly nowhere another value."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(noise[:6, :8]).resize((90, 60), Image.Resampling.BICUBIC))
    for frame, share in ((noise, 0.3), (smooth, 0.3)):
        expected = np.asarray(Image.fromarray(frame).resize(size[::-1], Image.Resampling.BILINEAR))
        actual = resize_frame(frame, size)
        assert actual.dtype == np.uint8 and actual.shape == (*size, 3) and actual.flags.c_contiguous
        difference = np.abs(actual.astype(int) - expected)
        assert difference.max() <= 1 and np.count_nonzero(difference) <= share * difference.size
    assert resize_frame(noise, (60, 90)) is noise


def test_resize_takes_read_only_and_strided_frames():
    frame = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    expected = resize_frame(frame[:, ::-1].copy(), (20, 30))
    frame.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(resize_frame(frame[:, ::-1], (20, 30)), expected)


def test_batch_is_padded_with_the_mean_to_multiples_of_32():
    generator = np.random.default_rng(1)
    frames = [generator.integers(0, 256, s, np.uint8) for s in ((33, 20, 3), (10, 64, 3), (1, 1, 3))]
    batch = batch_frames(frames, MEAN, 32)
    assert batch.shape == (3, 3, 64, 64)
    for image, frame in zip(batch, frames, strict=True):
        height, width = frame.shape[:2]
        assert np.array_equal(image[:, :height, :width].permute(1, 2, 0).numpy(), frame)
        outside = torch.ones(64, 64, dtype=torch.bool)
        outside[:height, :width] = False
        assert torch.equal(image[:, outside], torch.tensor(MEAN).view(3, 1).expand(3, int(outside.sum())))


def test_read_only_and_strided_frames_are_taken_as_they_are():
    frame = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    frame.setflags(write=False)
    flipped = frame[:, ::-1]
    batch = batch_frames([frame, flipped], MEAN, 32)
    assert np.array_equal(batch[1, :, :4, :6].permute(1, 2, 0).numpy(), flipped)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), "float32"),
        ([[1]], "list"),
        (np.zeros((4, 4), np.uint8), r"\(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"\(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
    ],
)
def test_what_is_no_frame_is_named(frame, message):
    with pytest.raises((TypeError, ValueError), match=message):
        check_frame(frame)


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((1080, 1920), (360, 640)),
        ((480, 640), (800, 1067)),
        ((720, 1280), (512, 910)),
        ((101, 77), (60, 133)),
        ((1, 900), (1, 211)),
        ((1, 1), (8, 8)),
        ((40, 50), (40, 50)),
    ],
)
def test_resize_on_the_device_is_within_one_grey_level(size, resized):
    generator = np.random.default_rng(7)
    noise = generator.integers(0, 256, (*size, 3), np.uint8)
    for frame in (noise, np.where(noise > 127, 255, 0).astype(np.uint8)):
        actual = resize_on_device(torch.from_numpy(frame), resized)
        assert actual.shape == (1, 3, *resized) and actual.dtype == torch.float32
        difference = actual[0].permute(1, 2, 0).numpy() - resize_frame(frame, resized)
        assert np.abs(difference).max() <= 1
        # The rule of a model keeps the aspect ratio; then hardly any pixel differs at all.
        assert size == (101, 77) or (difference != 0).mean() < 0.02


def test_batch_on_the_device_is_that_of_the_cpu():
    generator = np.random.default_rng(8)
    frames = [generator.integers(0, 256, s, np.uint8) for s in ((33, 20, 3), (90, 64, 3))]
    sizes = [(66, 40), (45, 32)]
    expected = batch_frames([resize_frame(f, s) for f, s in zip(frames, sizes, strict=True)], MEAN, 32)
    actual = batch_on_device([torch.from_numpy(f) for f in frames], sizes, torch.tensor(MEAN), 32)
    assert actual.shape == expected.shape and actual.is_contiguous(memory_format=torch.channels_last)
    assert (actual - expected).abs().max() <= 1
    assert torch.equal(actual[0, :, 66:], expected[0, :, 66:]) and torch.equal(actual[1, :, 45:], expected[1, :, 45:])
