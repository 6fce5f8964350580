# SPDX-License-Identifier: Apache-2.0
"""Compressed, divided and damaged recordings: what can be read comes out unchanged, and what is lost is said."""

import shutil
import sqlite3

import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from yoso_ros.bags import open_source
from yoso_ros.bags.bag import Bag
from yoso_ros.errors import InputError

STORE = get_typestore(Stores.ROS2_JAZZY)
COUNT, START_NS = 20, 5 * 10**9


def picture(index, shape):
    return np.random.default_rng(index).integers(0, 256, shape, np.uint8)


def write(path, plugin, mode=CompressionMode.NONE, shape=(40, 60, 3), indices=range(COUNT)):
    """A bag of random pictures; random, so that each keeps its size when compressed."""
    writer = Writer(path, version=9, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    time, head, image = (
        STORE.types[name] for name in ("builtin_interfaces/msg/Time", "std_msgs/msg/Header", "sensor_msgs/msg/Image")
    )
    with writer:
        connection = writer.add_connection("/cam/image_raw", image.__msgtype__, typestore=STORE)
        for i in indices:
            content = image(head(time(5, i), "cam"), *shape[:2], "rgb8", 0, 3 * shape[1], picture(i, shape).reshape(-1))
            writer.write(connection, START_NS + i, STORE.serialize_cdr(content, image.__msgtype__))
    return path


def storage_file(bag):
    return next(p for p in bag.iterdir() if p.name != "metadata.yaml")


def check(source, indices, shape=(40, 60, 3)):
    frames = list(source)
    assert [f.stamp_ns - START_NS for f in frames] == list(indices) and len(source) == len(frames)
    for frame, index in zip(frames, indices, strict=True):
        np.testing.assert_array_equal(frame.image.data, picture(index, shape).reshape(-1))


KINDS = [(p, m) for p in StoragePlugin for m in CompressionMode]
KINDS.remove((StoragePlugin.SQLITE3, CompressionMode.STORAGE))  # there is no such thing


@pytest.mark.parametrize(("plugin", "mode"), KINDS)
@pytest.mark.parametrize("part", ["folder", "file", "folder without metadata"])
def test_compressed(tmp_path, plugin, mode, part):
    bag = write(tmp_path / "bag", plugin, mode)
    if part == "folder without metadata":
        (bag / "metadata.yaml").unlink()
    source = open_source(storage_file(bag) if part == "file" else bag)
    check(source, range(COUNT))
    expected = ["no metadata.yaml: how many messages there were is unknown"] if "without" in part else []
    assert source.losses == expected
    check(source.part(7, 12), range(7, 12))
    check(source.part(3).part(4, -2), range(7, COUNT - 2))
    check(source.part(12, 7), [])
    check(source.part(COUNT), [])
    assert [source.index_at(1e-9 * s) for s in (0, 4, 19, 20)] == [0, 4, 19, COUNT]
    assert [source.part(5).index_at(1e-9 * s) for s in (-1, 2, 15)] == [0, 2, COUNT - 5]


def divided(tmp_path, plugin):
    """A bag of twelve files, as a recorder that begins a new file now and then leaves it."""
    parts = [write(tmp_path / f"part{i}", plugin, indices=[i]) for i in range(12)]
    content = yaml.safe_load((parts[0] / "metadata.yaml").read_text())
    information = content["rosbag2_bagfile_information"]
    names = [f"bag_{i}{storage_file(part).suffix}" for i, part in enumerate(parts)]
    (tmp_path / "bag").mkdir()
    for name, part in zip(names, parts, strict=True):
        shutil.move(storage_file(part), tmp_path / "bag" / name)
    information["relative_file_paths"] = names
    information["message_count"] = information["topics_with_message_count"][0]["message_count"] = 12
    (tmp_path / "bag/metadata.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "bag", names


@pytest.mark.parametrize("plugin", list(StoragePlugin))
def test_several_files(tmp_path, plugin):
    bag, names = divided(tmp_path, plugin)
    source = open_source(bag)
    check(source, range(12))
    assert source.losses == []
    messages = list(source.bag.messages(["/cam/image_raw"], START_NS + 3, START_NS + 11))
    assert [recorded - START_NS for _, recorded, _ in messages] == list(range(3, 11))
    (bag / "metadata.yaml").unlink()
    check(open_source(bag), range(12))  # file 10 after file 9
    check(open_source(bag).part(2, 11), range(2, 11))
    assert len(names) == 12


@pytest.mark.parametrize("plugin", list(StoragePlugin))
def test_a_part_reads_no_other_messages(tmp_path, plugin, monkeypatch):
    source = open_source(write(tmp_path / "bag", plugin))
    deserialized, store = [], type(source.bag)._whole

    def watched(*arguments):
        for entry in store(*arguments):
            deserialized.append(entry[2])
            yield entry

    monkeypatch.setattr(type(source.bag), "_whole", watched)
    check(source.part(15, 18), range(15, 18))
    assert deserialized == [START_NS + i for i in range(15, 18)]


@pytest.mark.parametrize("plugin", list(StoragePlugin))
def test_messages_of_one_moment_are_counted_apart(tmp_path, plugin):
    bag = write_at_once(tmp_path / "bag", plugin, [0, 0, 0, 1, 1, 2])
    source = open_source(bag)
    values = [int(f.image.data[0]) for f in source]
    assert values == list(range(6))
    for start, stop in ((1, 3), (2, 4), (4, 6), (0, 5)):
        assert [int(f.image.data[0]) for f in source.part(start, stop)] == values[start:stop]


def write_at_once(path, plugin, times):
    """A bag of pictures of one pixel, each with its number, recorded at these nanoseconds."""
    types = (STORE.types[n] for n in ("builtin_interfaces/msg/Time", "std_msgs/msg/Header", "sensor_msgs/msg/Image"))
    time, head, image = types
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connection = writer.add_connection("/cam/image_raw", image.__msgtype__, typestore=STORE)
        for i, moment in enumerate(times):
            content = image(head(time(5, i), "cam"), 1, 1, "mono8", 0, 1, np.array([i], np.uint8))
            writer.write(connection, START_NS + moment, STORE.serialize_cdr(content, image.__msgtype__))
    return path


@pytest.mark.parametrize("plugin", list(StoragePlugin))
def test_one_of_several_files_is_missing_and_one_is_empty(tmp_path, plugin):
    bag, names = divided(tmp_path, plugin)
    (bag / names[4]).unlink()
    (bag / names[7]).write_bytes(b"")
    source = open_source(bag)
    check(source, [i for i in range(12) if i not in (4, 7)])
    assert f"{names[4]} is missing" in source.losses
    assert any(line.startswith(f"{names[7]}: ") for line in source.losses)
    assert source.losses[-1] == "/cam/image_raw: 2 of 12 messages are lost"
    messages = list(source.bag.messages(["/cam/image_raw"], START_NS + 3, START_NS + 9))
    assert [recorded - START_NS for _, recorded, _ in messages] == [3, 5, 6, 8]


# SQLite moves its first page of messages while the file grows; before that the way to the messages is lost.
@pytest.mark.parametrize("keep", [0.6, 0.75, 0.97])
@pytest.mark.parametrize(
    ("plugin", "mode"),
    [
        (StoragePlugin.MCAP, CompressionMode.NONE),
        (StoragePlugin.MCAP, CompressionMode.STORAGE),
        (StoragePlugin.MCAP, CompressionMode.FILE),
        (StoragePlugin.SQLITE3, CompressionMode.NONE),
        (StoragePlugin.SQLITE3, CompressionMode.MESSAGE),
        (StoragePlugin.SQLITE3, CompressionMode.FILE),
    ],
)
def test_cut_off(tmp_path, plugin, mode, keep):
    # Several blocks of the compressor, of which the whole ones come out.
    shape = (150, 200, 3)
    bag = write(tmp_path / "bag", plugin, mode, shape)
    data = storage_file(bag)
    data.write_bytes(data.read_bytes()[: int(keep * data.stat().st_size)])
    source = open_source(bag)
    count = len(source)
    assert keep * COUNT - 4 <= count <= keep * COUNT
    check(source, range(count), shape)
    assert source.losses[-1] == f"/cam/image_raw: {COUNT - count} of {COUNT} messages are lost"
    assert any(data.name.removesuffix(".zstd") in line for line in source.losses)


def test_a_damaged_page_of_sqlite_costs_its_messages_only(tmp_path):
    shape, count, page = (10, 10, 3), 60, 4096
    bag = write(tmp_path / "bag", StoragePlugin.SQLITE3, shape=shape, indices=range(count))
    data = storage_file(bag)
    content = bytearray(data.read_bytes())
    at = content.index(picture(30, shape).tobytes()) // page * page
    content[at : at + page] = b"\xff" * page
    data.write_bytes(content)
    source = open_source(bag)
    stamps = [f.stamp_ns - START_NS for f in source]
    assert 0 in stamps and count - 1 in stamps and 30 not in stamps
    assert count - page // (shape[0] * shape[1] * 3) <= len(stamps) < count
    check(source, stamps, shape)
    assert source.losses[-1] == f"/cam/image_raw: {count - len(stamps)} of {count} messages are lost"


def test_a_message_that_does_not_decompress_costs_itself_only(tmp_path):
    bag = write(tmp_path / "bag", StoragePlugin.SQLITE3, CompressionMode.MESSAGE)
    with sqlite3.connect(storage_file(bag)) as database:
        (blob,) = database.execute("SELECT data FROM messages WHERE id = 6").fetchone()
        database.execute("UPDATE messages SET data = ? WHERE id = 6", (blob[:100] + b"\x00" * 50,))
    database.close()
    source = open_source(bag)
    check(source, [i for i in range(COUNT) if i != 5])
    assert source.losses[-1] == f"/cam/image_raw: 1 of {COUNT} messages are lost"


@pytest.mark.parametrize("plugin", list(StoragePlugin))
def test_a_message_that_does_not_decode_is_counted_once(tmp_path, plugin):
    bag = write(tmp_path / "bag", plugin)
    data = storage_file(bag)
    content = data.read_bytes()
    # The length of the frame id, which reads "cam" in the message, becomes 4 GB.
    broken = content.replace(b"\x04\x00\x00\x00cam", b"\xff\xff\xff\xffcam", 1)
    assert broken != content
    data.write_bytes(broken)
    source = open_source(bag)
    for _ in range(2):
        assert [f.stamp_ns - START_NS for f in source] == list(range(1, COUNT))
    assert source.losses == ["/cam/image_raw: 1 messages cannot be decoded"]


def test_a_chunk_with_a_wrong_checksum_is_left_out(tmp_path):
    shape = (600, 800, 3)  # of a size that each picture has a chunk of its own
    bag = write(tmp_path / "bag", StoragePlugin.MCAP, shape=shape, indices=range(4))
    data = storage_file(bag)
    content = bytearray(data.read_bytes())
    start = content.index(picture(2, shape).tobytes()[:64])
    chunk = content.rindex(b"\x06", 0, start - 100)
    while int.from_bytes(content[chunk + 1 : chunk + 9], "little") not in range(shape[0] * shape[1] * 3, 2 * 10**6):
        chunk = content.rindex(b"\x06", 0, chunk)
    content[chunk + 9 + 24 : chunk + 9 + 28] = b"\x01\x02\x03\x04"
    data.write_bytes(content)
    source = open_source(bag)
    check(source, [0, 1, 3], shape)
    assert any("wrong checksum" in line for line in source.losses)


def test_broken_metadata_is_said(tmp_path):
    bag = write(tmp_path / "bag", StoragePlugin.MCAP)
    (bag / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    source = open_source(bag)
    check(source, range(COUNT))
    (line,) = source.losses
    assert line.startswith("metadata.yaml cannot be read: how many messages there were is unknown (")


def test_nothing_there(tmp_path):
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag/metadata.yaml").write_text("rosbag2_bagfile_information: {}")
    with pytest.raises(InputError, match="cannot be read"):
        Bag(tmp_path / "bag")
