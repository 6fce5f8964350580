# SPDX-License-Identifier: Apache-2.0
"""Decompression with a limit: 98 kB of zstd can expand to 3 GB of zeros, which no camera recording does."""

import sys

from lz4.frame import LZ4FrameDecompressor

from yoso_ros.images.encoded import BYTES_PER_PIXEL, SMALL_FILE, largest_image

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Maximum expansion of a file compressed as a whole. Images shrink to a half or a tenth, label images to a hundredth.
LARGEST_RATIO = 500
BLOCK_BYTES = 1 << 20


class DecompressionError(Exception):
    """Damaged data, or more than the limit."""


def largest_message():
    """Maximum bytes of a message: an image of the largest size with four 16-bit values per pixel."""
    return BYTES_PER_PIXEL * largest_image() + SMALL_FILE


def largest_chunk():
    """Maximum bytes of an mcap chunk: it is closed once it is full, so it may exceed that by one message."""
    return 2 * largest_message()


def _frame(stream, data, room, limit):
    """The parts of one frame, of at most `room` bytes: (list of bytes, whether its end was there)."""
    parts = []
    while not stream.eof:
        part = stream.decompress(data, max_length=min(room + 1, BLOCK_BYTES))
        data = b""
        parts.append(part)
        room -= len(part)
        if room < 0:
            raise DecompressionError(f"more than {limit} bytes")
        if not part and stream.needs_input and not stream.eof:
            return parts, False
    return parts, True


def decompress_zstd(data, limit, is_whole=True):
    """Decompress all frames of zstd data to at most `limit` bytes; accept truncated data unless `is_whole`.

    Raises:
        DecompressionError: damaged, truncated, or larger.
    """
    parts, room = [], limit
    data = bytes(data)
    while data or not parts:
        stream = zstd.ZstdDecompressor()
        try:
            found, is_ended = _frame(stream, data, room, limit)
        except zstd.ZstdError as error:
            raise DecompressionError(str(error)) from error
        parts += found
        if not is_ended:
            if is_whole:
                raise DecompressionError("cut off")
            break
        room -= sum(map(len, found))
        data = stream.unused_data
    return b"".join(parts)


def decompress_lz4(data, limit):
    """Decompress an lz4 frame, as far as it goes, to at most `limit` bytes. Raises as `decompress_zstd`."""
    try:
        parts, _ = _frame(LZ4FrameDecompressor(), data, limit, limit)
    except RuntimeError as error:
        raise DecompressionError(str(error)) from error
    return b"".join(parts)


def decompress_file(source, target):
    """Decompress a zstd file as far as possible.

    Args:
        source, target: pathlib.Path.

    Returns:
        the fault, or None.
    """
    room = max(largest_message(), LARGEST_RATIO * source.stat().st_size)
    with source.open("rb") as compressed, target.open("wb") as plain:
        stream = zstd.ZstdDecompressor()
        while block := compressed.read(BLOCK_BYTES):
            try:
                while block or not (stream.needs_input or stream.eof):
                    part = stream.decompress(block, max_length=BLOCK_BYTES)
                    room -= len(part)
                    if room < 0:
                        return f"grows to more than {LARGEST_RATIO} times its size; the rest is left out"
                    plain.write(part)
                    block = b""
                    if stream.eof:
                        block, stream = stream.unused_data, zstd.ZstdDecompressor()
            except zstd.ZstdError as error:
                return f"compressed data are damaged ({error})"
    return None
