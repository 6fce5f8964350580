# SPDX-License-Identifier: Apache-2.0
"""Checksums of mcap files: of each chunk, of all data and of the index (specification at mcap.dev).

Without them a flipped bit in a recorded image goes unnoticed.
"""

import os
import struct
from zlib import crc32

MAGIC = b"\x89MCAP0\r\n"
MESSAGE, CHUNK, DATA_END, FOOTER = 0x05, 0x06, 0x0F, 0x02
HEAD = struct.Struct("<BQ")  # of a record: op code and length of its content
CHUNK_CRC_AT, CHUNK_NAME_AT = 24, 28  # in the content of a chunk
FOOTER_BYTES = HEAD.size + 20  # of the record; the last four are the checksum of the index
BLOCK_BYTES = 1 << 20
_NUMBER = struct.Struct("<I")


def add_checksums(path):
    """Fill in the checksums of an mcap file whose chunks are not compressed."""
    with path.open("r+b") as file:
        data_end = None
        for op, at, length in _records(file):
            if op == CHUNK:
                file.seek(at + CHUNK_NAME_AT)
                (name_length,) = _NUMBER.unpack(file.read(_NUMBER.size))
                start = CHUNK_NAME_AT + _NUMBER.size + name_length + 8
                file.seek(at + start)
                _write(file, at + CHUNK_CRC_AT, crc32(file.read(length - start)))
            elif op == DATA_END:
                data_end = at
        _write(file, data_end, _checksum(file, 0, data_end - HEAD.size))
        index, footer = index_place(file)
        _write(file, footer + FOOTER_BYTES - _NUMBER.size, _checksum(file, index, footer + FOOTER_BYTES - 4))


def check_file(path):
    """Check the checksums of an mcap file other than those of its chunks, which the reader checks.

    Returns:
        (whether every message is covered by a checksum, the fault or None).
    """
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return False, "not an mcap file"
        covered, data_end = True, None
        for op, at, _ in _records(file):
            if op == CHUNK:
                file.seek(at + CHUNK_CRC_AT)
                covered &= file.read(_NUMBER.size) != bytes(_NUMBER.size)
            elif op == MESSAGE:
                return False, None
            elif op == DATA_END:
                data_end = at
        if data_end is None:
            return covered, "no end of the data"
        file.seek(data_end)
        (stored,) = _NUMBER.unpack(file.read(_NUMBER.size).ljust(_NUMBER.size, b"\0"))
        if stored and stored != _checksum(file, 0, data_end - HEAD.size):
            return True, "the checksum of its data differs"
        index, footer = index_place(file)
        file.seek(footer + FOOTER_BYTES - _NUMBER.size)
        (stored,) = _NUMBER.unpack(file.read(_NUMBER.size))
        if stored and stored != _checksum(file, index, footer + FOOTER_BYTES - _NUMBER.size):
            return True, "the checksum of its index differs"
        return covered, None


def _records(file):
    """Yield (op code, position of the content, its length) of the records up to the end of the data."""
    size = os.fstat(file.fileno()).st_size
    at = len(MAGIC)
    while at + HEAD.size <= size:
        file.seek(at)
        op, length = HEAD.unpack(file.read(HEAD.size))
        yield op, at + HEAD.size, length
        if op == DATA_END:
            return
        at += HEAD.size + length


def index_place(file):
    """Where the index of an open mcap file is: (its position, that of the footer, which names it)."""
    footer = os.fstat(file.fileno()).st_size - len(MAGIC) - FOOTER_BYTES
    file.seek(footer + HEAD.size)
    (index,) = struct.unpack("<Q", file.read(8))
    return index, footer


def _checksum(file, start, stop):
    file.seek(start)
    value, left = 0, stop - start
    while left > 0 and (block := file.read(min(left, BLOCK_BYTES))):
        value, left = crc32(block, value), left - len(block)
    return value


def _write(file, at, value):
    file.seek(at)
    file.write(_NUMBER.pack(value))
