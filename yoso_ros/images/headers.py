# SPDX-License-Identifier: Apache-2.0
"""Headers of encoded images, read before anything is decoded: format, size, and whether the data are complete.

An image of 14 kB may claim to have 400 million pixels, and a decoder would believe it.
"""

import re
import struct
from dataclasses import dataclass

JPEG_START, JPEG_SCAN, JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
PNG_START = b"\x89PNG\r\n\x1a\n"
TIFF_WIDTH, TIFF_HEIGHT = 256, 257  # tags
# Netpbm: P1 to P6, then width and height, separated by white space and comment lines.
PNM_START = re.compile(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})\s")


@dataclass(frozen=True, slots=True)
class Header:
    """Format ("jpeg", "png", "bmp", "webp", "tiff", "pnm"), size in pixels, and whether the end is present."""

    kind: str
    width: int
    height: int
    is_whole: bool = True


def read_header(data):
    """The `Header` of an encoded image, or None if the data are not in one of these formats.

    Args:
        data: bytes of the whole file.
    """
    try:
        for start, read in _READERS.items():
            if data.startswith(start):
                return read(data)
    except (struct.error, IndexError):  # truncated within the header
        pass
    return None


def _jpeg(data):
    at = 2
    while True:
        at = data.find(b"\xff", at)  # decoders skip anything in between
        if at < 0:
            return None
        while data[at] == 0xFF:  # any number of fill bytes may precede a marker
            at += 1
        marker, at = data[at], at + 1
        if marker in range(0xC0, 0xD0) and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 3)
            # Some decoders silently fill the missing part of a truncated image with grey.
            return Header("jpeg", width, height, data.rfind(JPEG_END) > data.rfind(JPEG_SCAN) > 0)
        if marker != 0x01 and marker not in range(0xD0, 0xD9):  # these have no content
            at += struct.unpack_from(">H", data, at)[0]


def _png(data):
    if data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", data, 16)
    at = len(PNG_START)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        at += 12 + length
        if kind == b"IEND":
            return Header("png", width, height, at <= len(data))
    return Header("png", width, height, False)


def _bmp(data):
    (size,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", data, 18)
    return Header("bmp", abs(width), abs(height))


def _webp(data):
    kind = data[12:16] if data[8:12] == b"WEBP" else b""
    length = struct.unpack_from("<I", data, 4)[0]
    if kind == b"VP8 ":
        width, height = (n & 0x3FFF for n in struct.unpack_from("<HH", data, 26))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    else:
        return None
    return Header("webp", width, height, length + 8 <= len(data))


def _tiff(data):
    order = "<" if data[:2] == b"II" else ">"
    (folder,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, folder)
    found = {TIFF_WIDTH: 0, TIFF_HEIGHT: 0}
    for at in range(folder + 2, folder + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(f"{order}HH", data, at)
        if tag in found:
            (value,) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", data, at + 8)
            found[tag] = max(found[tag], value)
    return Header("tiff", *found.values()) if all(found.values()) else None


def _pnm(data):
    match = PNM_START.match(data[:4096])
    return Header("pnm", int(match[1]), int(match[2])) if match else None


_READERS = {
    JPEG_START: _jpeg,
    PNG_START: _png,
    b"BM": _bmp,
    b"RIFF": _webp,
    b"II*\0": _tiff,
    b"MM\0*": _tiff,
    b"P": _pnm,
}
