# SPDX-License-Identifier: Apache-2.0
"""A rosbag2 (or rosbag1) recording, intact or damaged: its topics, messages and losses. Does not need ROS."""

import struct
from array import array
from dataclasses import dataclass, field
from pathlib import Path

from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import storage_mcap
from tqdm import tqdm

from yoso_ros.bags.checksums import check_file
from yoso_ros.bags.decompression import decompress_lz4, decompress_zstd, largest_chunk
from yoso_ros.bags.linear import COMPRESSED_SUFFIX, is_storage_file, read_storage_file, uncompressed
from yoso_ros.bags.message_types import CAMERA_INFO, COMPRESSED, IMAGE, typestore
from yoso_ros.bags.metadata import read_metadata
from yoso_ros.errors import InputError
from yoso_ros.stamps import LAST_STAMP_NS

# Always read with our own definitions, so that a file cannot redefine what an image is.
KNOWN_TYPES = (IMAGE, COMPRESSED, CAMERA_INFO)
# The library trusts the size that a chunk declares, and a few bytes can declare anything.
storage_mcap.DECOMPRESSORS |= {
    "zstd": lambda data, size: decompress_zstd(data, min(size, largest_chunk())),
    "lz4": lambda data, size: decompress_lz4(data, min(size, largest_chunk())),
}
SILENT_S = 2  # opening shows its progress if it takes longer


@dataclass(slots=True)
class Topic:
    """One topic.

    Attributes:
        type: of its messages. times_ns: when each readable message was recorded, nanoseconds, ascending.
    """

    type: str
    times_ns: array = field(default_factory=lambda: array("q"))

    @property
    def count(self):
        """Number of readable messages."""
        return len(self.times_ns)

    @property
    def first_ns(self):
        """When the first message was recorded, nanoseconds."""
        return self.times_ns[0]

    @property
    def last_ns(self):
        """When the last message was recorded, nanoseconds."""
        return self.times_ns[-1]


class Bag:
    """The messages of a recording; opening it reads all of it once to find out what can be read.

    Args:
        path: rosbag2 folder, with or without its metadata.yaml, or a single .mcap, .db3 (both also .zstd) or .bag file.

    Attributes:
        name: the path.
        topics: dict of topic name to `Topic`, of the topics with messages.
        custom_data: dict of str that the writer stored in metadata.yaml.
        unchecked: names of the storage files in which not every message is covered by a checksum.

    Raises:
        InputError: nothing in it can be read.
    """

    def __init__(self, path):
        self.name, self._path = str(path), Path(path)
        self._lost, self._undecoded = [], {}
        metadata = read_metadata(self._path)
        self.custom_data = metadata.custom_data
        self._files = _storage_files(self._path, metadata.files, self._lost.append)
        self._lost += metadata.faults
        expected = sum(metadata.counts.values()) or None
        self.unchecked, fault = _check(self._files)
        self._lost += [fault] if fault else []
        self._is_linear = bool(fault) or any(file.suffix == COMPRESSED_SUFFIX for file in self._files)
        if not self._is_linear:
            try:
                self.topics, impossible = _survey(_shown(self._whole(None), expected))
            except Exception as error:  # the library passes on errors of SQLite and mcap, and its own asserts
                self._is_linear, fault = True, " ".join(str(error).split())[:300] or type(error).__name__
        if self._is_linear:
            self.topics, impossible = _survey(_shown(self._linear(self._lost.append), expected))
            if not self.topics:
                fault = fault or "; ".join(self._lost) or "it has no messages"
                raise InputError(f"{self.name}: expected a rosbag2 recording; it cannot be read: {fault}")
        if impossible:
            self._lost.append(f"{impossible} messages were recorded before 1970 or after 2038 and are ignored")
        self._lost += self._missing_messages(metadata.counts)

    def messages(self, topics, start_ns=None, stop_ns=None):
        """Read the messages of some topics in recording order; an intact recording is read from `start_ns` on.

        Args:
            topics: names; those that the recording lacks are ignored.
            start_ns, stop_ns: recording times in nanoseconds, the second exclusive; None for no limit.

        Yields:
            (topic, recorded nanoseconds, message with the fields of the ROS message).
        """
        topics = {topic for topic in topics if topic in self.topics}
        if not topics:
            return
        source = self._linear(lambda _: None) if self._is_linear else self._whole(topics, start_ns, stop_ns)
        low, high = start_ns or 0, LAST_STAMP_NS + 1 if stop_ns is None else stop_ns
        for topic, kind, recorded, data, deserialize in source:
            if topic not in topics or not low <= recorded < high:
                continue
            try:
                message = deserialize(data, kind)
            except Exception:  # of any kind, depending on what the bytes make the library do
                self._undecoded.setdefault(topic, set()).add(recorded)
                continue
            yield topic, recorded, message

    @property
    def losses(self):
        """What a damaged recording has lost: list of str, empty for an intact one; `messages` may find more."""
        return self._lost + [f"{t}: {len(found)} messages cannot be decoded" for t, found in self._undecoded.items()]

    def _whole(self, topics, start_ns=None, stop_ns=None):
        with AnyReader(self._files, default_typestore=typestore()) as reader:
            chosen = [c for c in reader.connections if topics is None or c.topic in topics]
            if not chosen:  # the library would read an empty list as all topics
                return
            for connection, recorded, data in reader.messages(chosen, start_ns, stop_ns):
                kind, deserialize = connection.msgtype, reader.deserialize
                if reader.is2:
                    data = uncompressed(data)
                    deserialize = typestore().deserialize_cdr if kind in KNOWN_TYPES else deserialize
                yield connection.topic, kind, recorded, data, deserialize

    def _linear(self, note):
        for path in self._files:
            for topic, kind, recorded, data in read_storage_file(path, note):
                yield topic, kind, recorded, data, typestore().deserialize_cdr

    def _missing_messages(self, counts):
        for topic, expected in counts.items():
            found = self.topics[topic].count if topic in self.topics else 0
            if found < expected:
                yield f"{topic}: {expected - found} of {expected} messages are lost"


def _check(files):
    """(names of the files not entirely covered by checksums, the first fault found or None)."""
    unchecked = []
    for file in files:
        covered, fault = False, None
        if file.suffix == ".mcap":
            try:
                covered, fault = check_file(file)
            except (OSError, struct.error) as error:
                fault = str(error)
        if fault:
            return unchecked, f"{file.name}: {fault}"
        if not covered:
            unchecked.append(file.name)
    return unchecked, None


def _survey(messages):
    """(dict of `Topic`, number of messages whose time a stamp cannot express)."""
    topics, impossible = {}, 0
    for topic, kind, recorded, *_ in messages:
        if 0 <= recorded <= LAST_STAMP_NS:
            topics.setdefault(topic, Topic(kind)).times_ns.append(recorded)
        else:
            impossible += 1
    for entry in topics.values():
        entry.times_ns = array("q", sorted(entry.times_ns))
    return topics, impossible


def _shown(messages, expected):
    return tqdm(messages, "open", expected, unit="message", delay=SILENT_S, leave=False)


def _storage_files(path, named, note):
    """The storage files of a recording in order; `note` is called for missing ones."""
    if not path.is_dir():
        if not path.is_file():
            raise InputError(f"{path} cannot be read: expected a recording, found no file")
        return [path]
    present = sorted((p for p in path.iterdir() if is_storage_file(p)), key=lambda p: (len(p.name), p.name))
    for file in [p for p in present if not p.is_file()]:
        note(f"{file.name} is a folder, pipe or device, not a recording")
        present.remove(file)
    named = [path / name for name in named]
    for file in named:
        if file not in present:
            note(f"{file.name} is missing")
    # In an interrupted recording, files are in the folder before they are in the metadata.
    return [f for f in named if f in present] + [f for f in present if f not in named]
