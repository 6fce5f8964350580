# SPDX-License-Identifier: Apache-2.0
"""Decoding of camera messages against OpenCV and plain numpy, for random sizes, paddings and contents."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yoso_ros.errors import InputError
from yoso_ros.images.decoding import LAYOUTS, decode_compressed, decode_image

seeds = st.integers(0, 2**32 - 1)
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
paddings = st.integers(0, 9)


def random_rgb(height, width, seed, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (height, width, 3), dtype, endpoint=True)


def image(pixels, encoding, padding=0, big_endian=False):
    """A message-like object from an array whose first axis is rows; `padding` bytes of noise end every row."""
    if pixels.itemsize == 2:
        pixels = pixels.astype(">u2" if big_endian else "<u2")
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(pixels.shape[0], -1)
    padded = np.full((rows.shape[0], rows.shape[1] + padding), 0xA5, np.uint8)
    padded[:, : rows.shape[1]] = rows
    return SimpleNamespace(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(big_endian),
        step=padded.shape[1],
        data=padded.tobytes(),
    )


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "8UC3", "8UC4"])
@settings(max_examples=30, deadline=None)
@given(sizes, paddings, seeds)
def test_colour_orders(encoding, size, padding, seed):
    rgb = random_rgb(*size, seed)
    pixels = rgb if encoding.startswith("rgb") else rgb[..., ::-1]
    if encoding in ("rgba8", "bgra8", "8UC4"):
        pixels = np.dstack([pixels, random_rgb(*size, seed + 1)[..., 0]])
    np.testing.assert_array_equal(decode_image(image(pixels, encoding, padding)), rgb)


@pytest.mark.parametrize("encoding", ["rgb16", "bgr16", "rgba16", "bgra16", "mono16"])
@settings(max_examples=30, deadline=None)
@given(sizes, paddings, seeds, st.booleans())
def test_sixteen_bits_keep_their_upper_half(encoding, size, padding, seed, big_endian):
    rgb = random_rgb(*size, seed, np.uint16)
    if encoding == "mono16":
        pixels, rgb = rgb[..., 0], rgb[..., :1].repeat(3, axis=2)
    else:
        pixels = rgb if encoding.startswith("rgb") else rgb[..., ::-1]
        pixels = np.dstack([pixels, rgb[..., :1]]) if "a" in encoding else pixels
    decoded = decode_image(image(pixels, encoding, padding, big_endian))
    np.testing.assert_array_equal(decoded, rgb // 256)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
@settings(max_examples=20, deadline=None)
@given(sizes, paddings, seeds)
def test_grey(encoding, size, padding, seed):
    gray = random_rgb(*size, seed)[..., 0]
    np.testing.assert_array_equal(decode_image(image(gray, encoding, padding)), gray[..., None].repeat(3, axis=2))


BAYER_SITES = {"rggb": "RGGB", "bggr": "BGGR", "gbrg": "GBRG", "grbg": "GRBG"}


@pytest.mark.parametrize("pattern", BAYER_SITES)
@pytest.mark.parametrize("bits", [8, 16])
@settings(max_examples=15, deadline=None)
@given(st.integers(2, 12), st.integers(2, 12), seeds, paddings)
def test_bayer_keeps_every_measured_value(pattern, bits, half_height, half_width, seed, padding):
    """Away from the rim, demosaicing must leave at each site the colour that the sensor measured there."""
    rgb = random_rgb(2 * half_height, 2 * half_width, seed)
    mosaic = np.zeros(rgb.shape[:2], np.uint8)
    for site, colour in enumerate(BAYER_SITES[pattern]):
        y, x = divmod(site, 2)
        mosaic[y::2, x::2] = rgb[y::2, x::2, "RGB".index(colour)]
    pixels = mosaic if bits == 8 else mosaic.astype(np.uint16) * 256 + 17
    decoded = decode_image(image(pixels, f"bayer_{pattern}{bits}", padding))
    for y, x in np.ndindex(*mosaic.shape):
        if 0 < y < mosaic.shape[0] - 1 and 0 < x < mosaic.shape[1] - 1:
            channel = "RGB".index(BAYER_SITES[pattern][2 * (y % 2) + x % 2])
            assert decoded[y, x, channel] == mosaic[y, x]


def yuv_to_rgb(y, u, v):
    """ITU-R BT.601, limited range, in floating point: the definition that OpenCV's integer code approximates."""
    y, u, v = 1.164383 * (y.astype(float) - 16), u.astype(float) - 128, v.astype(float) - 128
    rgb = np.dstack([y + 1.596027 * v, y - 0.391762 * u - 0.812968 * v, y + 2.017232 * u])
    return np.clip(rgb, 0, 255)


@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv"])
@settings(max_examples=20, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), seeds, paddings)
def test_yuv422(encoding, height, half_width, seed, padding):
    random = np.random.default_rng(seed)
    y = random.integers(16, 236, (height, 2 * half_width), np.uint8)
    u, v = random.integers(16, 241, (2, height, half_width), np.uint8)
    pairs = np.zeros((height, 2 * half_width, 2), np.uint8)
    brightness = 1 if encoding in ("yuv422", "uyvy") else 0
    pairs[..., brightness] = y
    pairs[:, 0::2, 1 - brightness], pairs[:, 1::2, 1 - brightness] = u, v
    decoded = decode_image(image(pairs, encoding, padding))
    expected = yuv_to_rgb(y, u.repeat(2, axis=1), v.repeat(2, axis=1))
    assert np.abs(decoded - expected).max() <= 2


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
@settings(max_examples=20, deadline=None)
@given(st.integers(1, 15), st.integers(1, 15), seeds, paddings)
def test_nv12(encoding, half_height, half_width, seed, padding):
    random = np.random.default_rng(seed)
    y = random.integers(16, 236, (2 * half_height, 2 * half_width), np.uint8)
    u, v = random.integers(16, 241, (2, half_height, half_width), np.uint8)
    pairs = np.dstack([u, v] if encoding == "nv12" else [v, u]).reshape(half_height, -1)
    message = image(np.vstack([y, pairs]), encoding, padding)
    message.height = 2 * half_height
    expected = yuv_to_rgb(y, *(c.repeat(2, axis=0).repeat(2, axis=1) for c in (u, v)))
    assert np.abs(decode_image(message) - expected).max() <= 2


def test_rgb8_is_a_view_of_the_message():
    message = image(random_rgb(6, 5, 0), "rgb8", padding=3)
    message.data = bytearray(message.data)
    frame = decode_image(message)
    message.data[0] ^= 0xFF
    assert frame[0, 0, 0] == message.data[0]


def broken(**changes):
    message = image(random_rgb(6, 8, 0), "rgb8")
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (broken(encoding="no_such_encoding"), "no_such_encoding"),
        (broken(encoding=""), "''"),
        (broken(encoding="32FC1"), "32FC1"),
        (broken(data=b"\0" * 100), "100"),
        (broken(data=b""), "found 0"),
        (broken(data=b"\0" * 145), "145"),
        (broken(height=0, data=b""), "8x0"),
        (broken(width=0), "0x6"),
        (broken(step=5), "found 5"),
        (broken(step=0), "found 0"),
        (broken(step=25), "150"),
        (broken(encoding="bayer_rggb8", width=2, height=72, step=2), "2x72"),
        (image(np.zeros((4, 5, 2), np.uint8), "yuv422"), "5x4"),
        (broken(encoding="nv12", height=9, width=16, step=16), "16x9"),
    ],
)
def test_unusable_images_are_refused_with_what_was_found(message, found):
    with pytest.raises(InputError, match="expected") as caught:
        decode_image(message)
    assert found in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([*LAYOUTS, "", "jpeg", "16SC1"]),
    st.integers(0, 9),
    st.integers(0, 9),
    st.integers(0, 80),
    st.integers(0, 1),
    st.integers(0, 400),
)
def test_any_message_gives_a_frame_or_an_input_error(encoding, height, width, step, big_endian, length):
    message = SimpleNamespace(
        height=height, width=width, encoding=encoding, step=step, is_bigendian=big_endian, data=bytes(length)
    )
    try:
        frame = decode_image(message)
    except InputError:
        return
    assert frame.dtype == np.uint8 and frame.shape == (height, width, 3)


def compressed(rgb, extension, picture_format, options=()):
    data = cv2.imencode(extension, rgb[..., ::-1], list(options))[1].tobytes()
    return SimpleNamespace(format=picture_format, data=data)


@pytest.mark.parametrize("picture_format", ["png", "bgr8; png compressed bgr8", "rgb8; png compressed bgr8", ""])
def test_png_is_exact(picture_format):
    rgb = random_rgb(31, 43, 5)
    np.testing.assert_array_equal(decode_compressed(compressed(rgb, ".png", picture_format)), rgb)


def test_sixteen_bit_and_grey_png():
    gray = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    message = SimpleNamespace(format="png", data=cv2.imencode(".png", gray)[1].tobytes())
    np.testing.assert_array_equal(decode_compressed(message), (gray // 256)[..., None].repeat(3, axis=2))


@pytest.mark.parametrize("picture_format", ["jpeg", "bgr8; jpeg compressed bgr8", "rgb8; jpeg compressed bgr8"])
def test_jpeg(picture_format):
    rgb = np.dstack(np.meshgrid(np.arange(64), np.arange(64))).astype(np.uint8)
    rgb = np.dstack([rgb * 2, np.full((64, 64), 40, np.uint8)])
    decoded = decode_compressed(compressed(rgb, ".jpg", picture_format, (cv2.IMWRITE_JPEG_QUALITY, 98)))
    assert np.abs(decoded.astype(int) - rgb).mean() < 2


def test_jpeg_with_swapped_channels_as_image_transport_marks_it():
    rgb = np.zeros((16, 16, 3), np.uint8)
    rgb[..., 0] = 200
    decoded = decode_compressed(compressed(rgb[..., ::-1], ".jpg", "rgb8; jpeg compressed rgb8"))
    assert np.abs(decoded.astype(int) - rgb).max() < 12


@pytest.mark.parametrize("extension", [".jpg", ".png"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.95])
def test_cut_off_pictures_are_refused(extension, kept):
    message = compressed(random_rgb(64, 80, 1), extension, "jpeg")
    message.data = message.data[: int(kept * len(message.data))]
    with pytest.raises(InputError, match="format 'jpeg' with .* bytes: expected a "):
        decode_compressed(message)


def test_padded_jpeg_is_accepted_and_depth_refused():
    message = compressed(random_rgb(20, 20, 2), ".jpg", "jpeg")
    message.data += bytes(1000)
    assert decode_compressed(message).shape == (20, 20, 3)
    message.format = "16UC1; compressedDepth"
    with pytest.raises(InputError, match="colour"):
        decode_compressed(message)
