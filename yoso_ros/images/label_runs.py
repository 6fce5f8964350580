# SPDX-License-Identifier: Apache-2.0
"""Label images as run lengths: the smallest form measured (docs/reliability.md), for radio.

Layout, little-endian: uint32 height, uint32 width, then zlib data of n uint16 ids and after them n uint16 lengths. A
run lies within one row; the rows follow each other from the top.
"""

import struct
import zlib

import numpy as np

from yoso_ros.errors import InputError
from yoso_ros.images.encoded import check_size

FORMAT = "mono16; run lengths, zlib"  # of the sensor_msgs/CompressedImage that carries it
LEVEL = 1  # of zlib; the highest saves a tenth and takes thirty times as long
HEADER = struct.Struct("<II")
LONGEST_ROW = 65535


def encode_runs(labels):
    """A label image, uint16 (H, W), as bytes.

    Raises:
        InputError: a row is longer than a run can tell.
    """
    height, width = labels.shape
    if width > LONGEST_ROW:
        raise InputError(f"expected rows of at most {LONGEST_ROW} pixels, found {width}")
    begins = np.ones(labels.shape, bool)
    np.not_equal(labels[:, 1:], labels[:, :-1], out=begins[:, 1:])
    first = np.flatnonzero(begins)
    lengths = np.diff(first, append=labels.size).astype("<u2")
    runs = labels.reshape(-1)[first].astype("<u2").tobytes() + lengths.tobytes()
    return HEADER.pack(height, width) + zlib.compress(runs, LEVEL)


def decode_runs(data, max_pixels=None):
    """The label image of `encode_runs`: uint16 (H, W).

    Args:
        data: bytes.
        max_pixels: a larger image is refused before it is decoded; None for `largest_image()`.

    Raises:
        InputError: too large, cut off, or not of this form.
    """
    data = bytes(data)
    if len(data) < HEADER.size:
        raise InputError(f"run lengths: expected at least {HEADER.size} bytes, found {len(data)}")
    height, width = HEADER.unpack_from(data)
    check_size(width, height, max_pixels, "run lengths")
    largest = 4 * height * width  # every pixel a run
    decoder = zlib.decompressobj()
    try:
        runs = decoder.decompress(data[HEADER.size :], largest + 1)
    except zlib.error as error:
        raise InputError(f"run lengths: {error}") from error
    if len(runs) > largest or len(runs) % 4 or not decoder.eof:
        raise InputError(
            f"run lengths: expected whole runs of {width}x{height} pixels, found {len(runs)} bytes of them"
        )
    ids, lengths = np.frombuffer(runs, "<u2").reshape(2, -1)
    if int(lengths.sum(dtype=np.int64)) != height * width:
        raise InputError(
            f"run lengths: expected {height * width} pixels for {width}x{height}, found {lengths.sum(dtype=np.int64)}"
        )
    return np.repeat(ids, lengths).reshape(height, width).astype(np.uint16, copy=False)
