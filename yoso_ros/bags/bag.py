# SPDX-License-Identifier: Apache-2.0
"""A rosbag2 (or rosbag1) recording, intact or damaged: its topics, messages and losses. Does not need ROS."""

from array import array
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from rosbags.highlevel import AnyReader
from tqdm import tqdm

from yoso_ros.bags.linear import is_storage_file, read_storage_file, uncompressed
from yoso_ros.bags.message_types import typestore
from yoso_ros.errors import InputError

METADATA = "metadata.yaml"
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

    Raises:
        InputError: nothing in it can be read.
    """

    def __init__(self, path):
        self.name, self._path = str(path), Path(path)
        self._lost, self._undecoded = [], {}
        metadata, fault = _read_metadata(self._path)
        self.custom_data = metadata.get("custom_data") or {}
        self._is_damaged = False
        try:
            self.topics = _survey(_shown(self._whole(None), metadata))
            return
        except Exception as error:  # the library passes on errors of SQLite, mcap and YAML, and its own asserts
            reason = " ".join(str(error).split()) or type(error).__name__
        self._is_damaged = True
        self._files = _storage_files(self._path, metadata, self._lost.append)
        self.topics = _survey(_shown(self._linear(self._lost.append), metadata))
        if not self.topics:
            raise InputError(f"{self.name}: expected a rosbag2 recording; it cannot be read: {reason}")
        if fault:
            self._lost.append(fault)
        self._lost += self._missing_messages(metadata)

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
        source = self._linear(lambda _: None) if self._is_damaged else self._whole(topics, start_ns, stop_ns)
        low, high = start_ns or 0, float("inf") if stop_ns is None else stop_ns
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
        with AnyReader([self._path], default_typestore=typestore()) as reader:
            chosen = [c for c in reader.connections if topics is None or c.topic in topics]
            if not chosen:  # the library would read an empty list as all topics
                return
            for connection, recorded, data in reader.messages(chosen, start_ns, stop_ns):
                data = uncompressed(data) if reader.is2 else data
                yield connection.topic, connection.msgtype, recorded, data, reader.deserialize

    def _linear(self, note):
        for path in self._files:
            for topic, kind, recorded, data in read_storage_file(path, note):
                yield topic, kind, recorded, data, typestore().deserialize_cdr

    def _missing_messages(self, metadata):
        for entry in metadata.get("topics_with_message_count") or []:
            topic, expected = entry["topic_metadata"]["name"], entry["message_count"]
            found = self.topics[topic].count if topic in self.topics else 0
            if found < expected:
                yield f"{topic}: {expected - found} of {expected} messages are lost"


def _survey(messages):
    topics = {}
    for topic, kind, recorded, *_ in messages:
        topics.setdefault(topic, Topic(kind)).times_ns.append(recorded)
    for entry in topics.values():
        entry.times_ns = array("q", sorted(entry.times_ns))
    return topics


def _shown(messages, metadata):
    return tqdm(messages, "open", metadata.get("message_count"), unit="message", delay=SILENT_S, leave=False)


def _read_metadata(path):
    """(content of metadata.yaml or {}, its fault or None)."""
    file = path / METADATA
    if not path.is_dir():
        return {}, None
    try:
        content = yaml.safe_load(file.read_text())["rosbag2_bagfile_information"]
        if not isinstance(content, dict):
            raise TypeError("not a mapping")
        return content, None
    except FileNotFoundError:
        return {}, f"no {METADATA}: how many messages there were is unknown"
    except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError):
        return {}, f"{METADATA} cannot be read: how many messages there were is unknown"


def _storage_files(path, metadata, note):
    """The storage files of a recording in order; `note` is called for missing ones."""
    if not path.is_dir():
        return [path] if is_storage_file(path) else []
    present = sorted((p for p in path.iterdir() if is_storage_file(p)), key=lambda p: (len(p.name), p.name))
    named = [path / Path(name).name for name in metadata.get("relative_file_paths") or []]
    for file in named:
        if file not in present:
            note(f"{file.name} is missing")
    # In an interrupted recording, files are in the folder before they are in the metadata.
    return [f for f in named if f in present] + [f for f in present if f not in named]
