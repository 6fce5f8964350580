# SPDX-License-Identifier: Apache-2.0
"""Pictures that no encoder writes: headers that say more than there is."""

import struct
from zlib import compress, crc32


def png_that_claims(width, height):
    """A PNG of a few bytes whose header says this size, its checksums right and its end in place."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", compress(bytes(1000))), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def jpeg_that_claims(jpeg, width, height):
    """A JPEG with another size in its header."""
    at = jpeg.index(b"\xff\xc0")
    return jpeg[: at + 5] + struct.pack(">HH", height, width) + jpeg[at + 9 :]
