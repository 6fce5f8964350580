# SPDX-License-Identifier: Apache-2.0
"""Storage files of rosbag2 read sequentially without index or metadata, including damaged and compressed ones."""

import contextlib
import sqlite3
import struct
import tempfile
from pathlib import Path
from urllib.parse import quote
from zlib import crc32

from yoso_ros.bags.checksums import index_place
from yoso_ros.bags.decompression import (
    DecompressionError,
    decompress_file,
    decompress_lz4,
    decompress_zstd,
    largest_chunk,
    largest_message,
)

STORAGE_SUFFIXES = (".mcap", ".db3")
COMPRESSED_SUFFIX = ".zstd"  # of a storage file compressed as a whole
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # serialized ROS messages begin with 0
# Ordered by row number, so that a damaged index does not matter.
ROWS = "SELECT id, topic_id, timestamp, data FROM messages NOT INDEXED WHERE id > ? ORDER BY id"

# A view or a computed column can yield endlessly more rows and bytes than the file contains.
ODD = """SELECT 1 FROM sqlite_master WHERE name IN ('messages', 'topics') AND
    (type <> 'table' OR sql NOT LIKE 'CREATE TABLE%')
    UNION ALL SELECT 1 FROM pragma_table_xinfo('messages') WHERE hidden > 1
    UNION ALL SELECT 1 FROM pragma_table_xinfo('topics') WHERE hidden > 1"""

# mcap (specification at mcap.dev): records of an op code, the length of the content as 64 bits, and the content.
MCAP_MAGIC = b"\x89MCAP0\r\n"
SCHEMA, CHANNEL, MESSAGE, CHUNK, DATA_END, LAST_OP = 0x03, 0x04, 0x05, 0x06, 0x0F, 0x0F
RECORD_HEAD, MESSAGE_HEAD, CHUNK_HEAD = struct.Struct("<BQ"), struct.Struct("<HIQQ"), struct.Struct("<QQQII")


def is_storage_file(path):
    """Whether a path is named like a storage file: .mcap or .db3, each also with .zstd."""
    name = path.name.removesuffix(COMPRESSED_SUFFIX)
    return name.endswith(STORAGE_SUFFIXES) and not name.startswith(".")


def uncompressed(data):
    """The bytes of a message, decompressed if it was recorded with message compression."""
    return decompress_zstd(data, largest_message()) if bytes(data[:4]) == ZSTD_MAGIC else data


def read_storage_file(path, note):
    """Read as much of a storage file as possible.

    Args:
        path: .mcap or .db3 file, or one of these compressed as a whole (.zstd).
        note: called with one line for each fault.

    Yields:
        (topic, message type, recorded nanoseconds, serialized message), in file order.
    """
    if path.suffix == COMPRESSED_SUFFIX:
        with tempfile.TemporaryDirectory() as folder:
            inner = Path(folder) / path.stem
            if fault := decompress_file(path, inner):
                note(f"{path.name}: {fault}")
            yield from read_storage_file(inner, note)
        return
    for topic, kind, recorded, data in _read_mcap(path, note) if path.suffix == ".mcap" else _read_sqlite(path, note):
        try:
            yield topic, kind, recorded, uncompressed(data)
        except DecompressionError as error:
            note(f"a message of {topic} cannot be decompressed: {error}")


def _read_mcap(path, note):
    size = path.stat().st_size
    schemas, channels = {}, {}
    with path.open("rb") as file:
        if file.read(len(MCAP_MAGIC)) != MCAP_MAGIC:
            note(f"{path.name}: not an mcap file")
            return
        _read_definitions(file, schemas, channels)
        while True:
            at = file.tell()
            head = file.read(RECORD_HEAD.size)
            if len(head) < RECORD_HEAD.size:
                note(f"{path.name}: cut off at byte {size}")
                return
            op, length = RECORD_HEAD.unpack(head)
            if op == DATA_END:
                return
            if not 0 < op <= LAST_OP:
                note(f"{path.name}: damaged at byte {at}; nothing after it can be read")
                return
            content = file.read(min(length, size - at))
            is_whole = len(content) == length
            if op == CHUNK:
                # The rest of a truncated chunk still contains complete messages.
                records = _chunk_content(content, is_whole, lambda text, at=at: note(f"{path.name}: byte {at}: {text}"))
                yield from sorted(_messages(records, schemas, channels), key=lambda message: message[2])
            elif is_whole:
                yield from _messages(head + content, schemas, channels)
            if not is_whole:
                note(f"{path.name}: cut off at byte {size}")
                return


def _read_definitions(file, schemas, channels):
    """Schemas and channels from the index, for those whose chunk is damaged; what the chunks say replaces them."""
    begin = file.tell()
    with contextlib.suppress(OSError, struct.error, ValueError):  # no whole index
        index, footer = index_place(file)
        if begin < index < footer:
            file.seek(index)
            for _ in _messages(file.read(footer - index), schemas, channels):
                pass
    file.seek(begin)


def _chunk_content(content, is_whole, note):
    """The records of a chunk, decompressed as far as possible."""
    if len(content) < CHUNK_HEAD.size:
        return b""
    *_, length, checksum, name_length = CHUNK_HEAD.unpack_from(content)
    start = CHUNK_HEAD.size + name_length + 8
    compression, data = bytes(content[CHUNK_HEAD.size : start - 8]), content[start:]
    try:
        if compression == b"zstd":
            data = decompress_zstd(data, largest_chunk(), is_whole)
        elif compression == b"lz4":
            data = decompress_lz4(data, largest_chunk())
        elif compression:
            note(f"skipped a chunk with unknown compression {compression!r}")
            return b""
    except DecompressionError as error:
        note(f"skipped a chunk that cannot be decompressed ({error})")
        return b""
    if is_whole and (len(data) != length or (checksum and crc32(data) != checksum)):
        note("skipped a chunk with a wrong checksum")
        return b""
    return data


def _messages(records, schemas, channels):
    """Messages in a sequence of records; adds schemas and channels to the dicts; stops at a truncated record."""
    at = 0
    while at + RECORD_HEAD.size <= len(records):
        op, length = RECORD_HEAD.unpack_from(records, at)
        at += RECORD_HEAD.size
        content = records[at : at + length]
        at += length
        if len(content) < length:
            return
        if op == SCHEMA:
            schemas[int.from_bytes(content[:2], "little")], _ = _string(content, 2)
        elif op == CHANNEL:
            topic, _ = _string(content, 4)
            channels[int.from_bytes(content[:2], "little")] = topic, int.from_bytes(content[2:4], "little")
        elif op == MESSAGE and length >= MESSAGE_HEAD.size:
            channel, _, recorded, _ = MESSAGE_HEAD.unpack_from(content)
            topic, schema = channels.get(channel, (None, None))
            if schema in schemas:
                yield topic, schemas[schema], recorded, content[MESSAGE_HEAD.size :]


def _string(content, at):
    end = at + 4 + int.from_bytes(content[at : at + 4], "little")
    return content[at + 4 : end].decode(errors="replace"), end


def _read_sqlite(path, note):
    with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)) as database:
        try:
            # Without this SQLite refuses to open a file that is shorter than its header says.
            database.execute("PRAGMA writable_schema=ON")
            if database.execute(ODD).fetchone():
                note(f"{path.name}: expected messages and topics to be plain tables; the file is skipped")
                return
            topics = {row[0]: row[1:] for row in database.execute("SELECT id, name, type FROM topics")}
        except sqlite3.Error as error:
            note(f"{path.name}: {error}")
            return
        try:
            (final,) = database.execute("SELECT max(id) FROM messages").fetchone()
        except sqlite3.Error:
            final = None
        last, is_noted = 0, False
        while True:
            try:
                for number, topic, recorded, data in database.execute(ROWS, (last,)):
                    last = number
                    if topic in topics:
                        yield *topics[topic], recorded, data
                return
            except sqlite3.Error as error:
                if not is_noted:
                    note(f"{path.name}: after message {last}: {error}")
                is_noted = True
                last += 1
                if final is None or last >= final:
                    return
