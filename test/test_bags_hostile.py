# SPDX-License-Identifier: Apache-2.0
"""Recordings that were made to do harm, or that a disk has changed: bounded, refused in one line, or said."""

import errno
import json
import os
import sqlite3

import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from yoso_ros.bags import open_source
from yoso_ros.bags.bag import Bag
from yoso_ros.bags.decompression import zstd
from yoso_ros.bags.frames import RawImage
from yoso_ros.bags.labels import LABEL_SET_KEY, NAMES_KEY, label_set_of, names_of
from yoso_ros.bags.message_types import IMAGE, header, picture_message, typestore
from yoso_ros.bags.writing import BagWriter
from yoso_ros.errors import InputError
from yoso_ros.files import WriteError

TOPIC, COUNT = "/cam/image_raw", 6


def message(index):
    data = np.random.default_rng(index).integers(0, 256, 8 * 8 * 3, np.uint8)
    return picture_message(RawImage(8, 8, "rgb8", 0, 24, data), header(10**9 + index, "cam"))


def write(path, storage="mcap", custom=()):
    with BagWriter(path, storage) as writer:
        for index in range(COUNT):
            writer.write(TOPIC, 10**9 + index, message(index))
        for key, text in dict(custom).items():
            writer.set_custom_data(key, text)
    return path


def storage_file(bag):
    return next(p for p in bag.iterdir() if p.name != "metadata.yaml")


def frames(source):
    return [bytes(frame.image.data) for frame in source]


WHOLE = [bytes(message(index).data) for index in range(COUNT)]


def change_metadata(bag, **changes):
    file = bag / "metadata.yaml"
    content = yaml.safe_load(file.read_text())
    content["rosbag2_bagfile_information"] |= changes
    file.write_text(yaml.safe_dump(content))


BOMB = {"a": ["x"] * 9}
for before, after in zip("abcdefghi", "bcdefghij", strict=True):
    BOMB[after] = [BOMB[before]] * 9


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"relative_file_paths": [1, None]}, "relative_file_paths: expected a list of names"),
        ({"relative_file_paths": BOMB["j"]}, "relative_file_paths: expected a list of names"),
        ({"relative_file_paths": ["../bag.mcap", "bag.mcap"]}, "lists bag.mcap more than once; it is read once"),
        ({"relative_file_paths": ["bag.mcap", "/etc/passwd"]}, "passwd is missing"),
        ({"topics_with_message_count": "x"}, "expected topics with names and counts, found 'x'"),
        ({"topics_with_message_count": [{}]}, "expected topics with names and counts, found {}"),
        ({"topics_with_message_count": BOMB["j"]}, "expected topics with names and counts"),
        ({"custom_data": [1]}, "custom_data: expected texts by name, found [1]"),
        ({"version": BOMB["j"], "message_count": -5}, None),
    ],
)
def test_metadata_of_wrong_types_cost_a_line_and_no_frame(tmp_path, changes, said):
    bag = write(tmp_path / "bag")
    change_metadata(bag, **changes)
    source = open_source(bag)
    assert frames(source) == WHOLE and source.bag.custom_data == {}
    assert any(said in line for line in source.losses) if said else source.losses == []
    assert all(len(line) < 300 for line in source.losses)


def test_texts_of_the_writer_that_are_no_json(tmp_path):
    bag = Bag(write(tmp_path / "bag", custom={LABEL_SET_KEY: "{", NAMES_KEY: "5"}))
    for read in (label_set_of, names_of):
        with pytest.raises(InputError, match="bag: .*yoso_ros"):
            read(bag)
    outside = json.dumps([[10**9, 1, "../../outside.png"]])
    with pytest.raises(InputError, match="inside"):
        names_of(Bag(write(tmp_path / "other", custom={NAMES_KEY: outside})))


def test_a_message_and_a_chunk_and_a_file_that_grow_without_end(tmp_path, monkeypatch):
    monkeypatch.setenv("YOSO_MAX_IMAGE_PIXELS", "100000")  # 1.8 MB a message, 3.7 MB a chunk
    bomb = zstd.compress(bytes(30_000_000))
    bag = tmp_path / "message"
    with BagWriter(bag) as writer:
        writer.write(TOPIC, 10**9, message(0))
        writer.write_serialized(TOPIC, IMAGE, 10**9 + 1, bomb)
    source = open_source(bag)
    assert frames(source) == WHOLE[:1] and "cannot be decompressed: more than" in source.losses[0]

    (tmp_path / "file").mkdir()
    (tmp_path / "file/x.mcap.zstd").write_bytes(zstd.compress(storage_file(bag).read_bytes()[:60]) + bomb)
    with pytest.raises(InputError, match=r"x\.mcap\.zstd: grows to more than 500 times its size"):
        Bag(tmp_path / "file")

    bag = tmp_path / "chunk"
    writer = Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection(TOPIC, IMAGE, typestore=typestore())
        writer.write(connection, 10**9, typestore().serialize_cdr(message(0), IMAGE))
        for index, size in ((1, 1_100_000), (2, 30_000_000)):  # each ends a chunk
            writer.write(connection, 10**9 + index, bytes(size))
    source = open_source(bag)
    assert frames(source) == WHOLE[:1] and any("more than 3" in line for line in source.losses)


def test_files_that_are_none_and_tables_without_end_do_not_hang(tmp_path):
    bag = write(tmp_path / "bag", "sqlite3")
    with sqlite3.connect(storage_file(bag)) as database:
        database.execute("ALTER TABLE messages RENAME TO real")
        database.execute(
            "CREATE VIEW messages AS WITH RECURSIVE c(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM c) "
            "SELECT id, 1 AS topic_id, 5 AS timestamp, zeroblob(1000) AS data FROM c"
        )
    database.close()
    with pytest.raises(InputError, match="cannot be read"):
        Bag(bag)
    pipe = write(tmp_path / "pipe")
    storage_file(pipe).unlink()
    os.mkfifo(pipe / "pipe.mcap")
    for path in (pipe, pipe / "pipe.mcap"):
        with pytest.raises(InputError, match="cannot be read"):
            open_source(path)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_times_that_no_stamp_can_say(tmp_path, storage):
    bag = tmp_path / "bag"
    with BagWriter(bag, storage) as writer:
        for index, recorded in enumerate((0, 10**9, 2**62, 2**63 - 1)):
            writer.write(TOPIC, recorded, message(index))
    source = open_source(bag)
    assert frames(source) == WHOLE[:2]
    assert source.losses[0] == "2 messages were recorded before 1970 or after 2038 and are ignored"


def test_a_file_cannot_say_that_an_image_is_something_else(tmp_path):
    bag = tmp_path / "bag"
    with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection(TOPIC, IMAGE, msgdef="string data\n", rihs01="RIHS01_" + "0" * 64)
        writer.write(connection, 10**9, typestore().serialize_cdr(message(0), IMAGE))
        writer.write(connection, 10**9 + 1, b"\0\1\0\0\5\0\0\0hello")
    source = open_source(bag)
    assert frames(source) == WHOLE[:1] and source.losses == [f"{TOPIC}: 1 messages cannot be decoded"]
    with BagWriter(tmp_path / "none") as writer:
        writer.write_serialized(TOPIC, IMAGE, 10**9, b"\0\1\0\0\5\0\0\0hello")
    with pytest.raises(
        InputError, match=f"expected a camera image topic; .*lost: {TOPIC}: 1 messages cannot be decoded"
    ):
        open_source(tmp_path / "none")


def test_no_flipped_bit_of_an_own_recording_goes_unnoticed(tmp_path):
    bag = write(tmp_path / "bag")
    file, random = storage_file(bag), np.random.default_rng(3)
    content = file.read_bytes()
    assert Bag(bag).unchecked == [] and Bag(bag).losses == []
    for at in sorted({*random.integers(0, len(content), 60).tolist(), content.index(WHOLE[2])}):
        file.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
        try:
            source = open_source(bag)
            found = frames(source)
        except InputError:
            continue
        assert found == [data for data in WHOLE if data in found], at
        assert source.losses or found == WHOLE, at
    assert Bag(write(tmp_path / "other", "sqlite3")).unchecked == ["other.db3"]


def test_a_damaged_chunk_costs_its_own_frames_even_if_it_is_the_first(tmp_path):
    bag = tmp_path / "bag"
    with BagWriter(bag) as writer:
        for index in range(3):  # of a size that each has a chunk of its own
            image = RawImage(600, 800, "rgb8", 0, 2400, np.full(600 * 800 * 3, index + 1, np.uint8))
            writer.write(TOPIC, 10**9 + index, picture_message(image, header(10**9 + index, "cam")))
    content = storage_file(bag).read_bytes()
    at = content.index(bytes([1] * 100))
    storage_file(bag).write_bytes(content[:at] + b"\0" + content[at + 1 :])
    source = open_source(bag)
    assert [data[0] for data in frames(source)] == [2, 3]
    assert any("wrong checksum" in line for line in source.losses)
    assert source.losses[-1] == f"{TOPIC}: 1 of 3 messages are lost"


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / ".999999999.bag").mkdir()  # of a process that was killed
    (tmp_path / ".999999999.bag/bag").write_bytes(b"half")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(WriteError, match="bag cannot be written: no space left"), BagWriter(tmp_path / "bag") as writer:
        writer.write(TOPIC, 1, message(0))
        monkeypatch.setattr("rosbags.rosbag2.writer.Writer.write", full)
        writer.write(TOPIC, 2, message(1))
    assert list(tmp_path.iterdir()) == []
