# SPDX-License-Identifier: Apache-2.0
"""Encoded pictures: the header decides before anything is decoded; too large, cut off and strange ones are refused."""

import os
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures_by_hand import jpeg_that_claims, png_that_claims

from yoso_ros.bags import open_source
from yoso_ros.errors import InputError
from yoso_ros.images.decoding import decode_compressed
from yoso_ros.images.encoded import decode_encoded, read_image
from yoso_ros.images.headers import read_header

PICTURE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (37, 50, 3), np.uint8), (9, 9), 3)
WAYS = {
    ".jpg": (),
    "progressive.jpg": (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    ".png": (),
    ".bmp": (),
    ".tif": (),
    ".webp": (),
    ".ppm": (),
    "text.ppm": (cv2.IMWRITE_PXM_BINARY, 0),
}
ENCODED = {way: cv2.imencode(f".{way.split('.')[1]}", PICTURE, list(how))[1].tobytes() for way, how in WAYS.items()}


@pytest.mark.parametrize("way", WAYS)
def test_headers_say_the_size_and_a_part_of_a_picture_is_none(way):
    data = ENCODED[way]
    header = read_header(data)
    assert (header.width, header.height, header.is_whole) == (50, 37, True)
    expected = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(decode_encoded(data, "x"), expected)
    for share in (0, 0.01, 0.1, 0.5, 0.9, 0.99):
        with pytest.raises(InputError, match="^x: expected a"):
            decode_encoded(data[: int(share * len(data))], "x")


@pytest.mark.parametrize("lie", [png_that_claims(20000, 20000), jpeg_that_claims(ENCODED[".jpg"], 20000, 20000)])
def test_a_small_file_that_says_it_is_huge_is_not_decoded(lie, tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    (tmp_path / "a.jpg").write_bytes(lie)
    for refuse in (
        lambda: read_image(tmp_path / "a.jpg"),
        lambda: list(open_source(tmp_path)),
        lambda: decode_compressed(SimpleNamespace(format="jpeg", data=lie)),
    ):
        with pytest.raises(InputError, match="expected at most 33177600 pixels, found 20000x20000"):
            refuse()
    monkeypatch.setenv("YOSO_MAX_IMAGE_PIXELS", "1000")
    with pytest.raises(InputError, match="at most 1000 pixels, found 50x37"):
        decode_encoded(ENCODED[".png"], "x")


def test_compressed_topics_are_jpeg_and_png_only():
    for way in (".bmp", ".tif", ".webp", ".ppm"):
        with pytest.raises(InputError, match="expected a JPEG or PNG picture, found a "):
            decode_compressed(SimpleNamespace(format="jpeg", data=ENCODED[way]))
    with pytest.raises(InputError) as caught:
        decode_compressed(SimpleNamespace(format="f" * 10**6, data=b"x"))
    assert len(str(caught.value)) < 200


def test_files_that_cannot_be_read_do_not_hang_and_any_name_can(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "folder.png", "none.png"):
        with pytest.raises(InputError, match=f"{name}: expected an image file, found"):
            read_image(tmp_path / name)
    name = os.fsdecode(b"fr\xe9me\xb2.png")
    (tmp_path / name).write_bytes(ENCODED[".png"])
    assert len(list(open_source(tmp_path))) == 1
    np.testing.assert_array_equal(read_image(tmp_path / name), PICTURE[..., ::-1])


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(list(ENCODED)), st.lists(st.tuples(st.integers(0, 90), st.integers(0, 255)), max_size=6))
def test_whatever_a_header_says_a_picture_or_an_input_error_comes_out(way, changes):
    data = bytearray(ENCODED[way])
    for at, value in changes:
        data[at] = value
    try:
        picture = decode_encoded(bytes(data), "x", max_pixels=10**5)
    except InputError:
        return
    assert picture.dtype == np.uint8 and picture.shape[2] == 3 and picture.size <= 3 * 10**5
