# SPDX-License-Identifier: Apache-2.0
"""The metadata.yaml of a rosbag2 recording, checked field by field: an invalid field is reported and ignored."""

from dataclasses import dataclass, field
from pathlib import PurePath

from yoso_ros.configuration import read_yaml
from yoso_ros.errors import InputError, brief

METADATA = "metadata.yaml"
LARGEST = 16 << 20  # bytes; a recording made from a data set stores its image names there
ROOT = "rosbag2_bagfile_information"


@dataclass
class Metadata:
    """The fields in use.

    Attributes:
        files: names of the storage files, without folders, each once.
        counts: dict of topic to its number of messages.
        custom_data: dict of str to str.
        faults: one line per fault.
    """

    files: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    custom_data: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def read_metadata(path):
    """The `Metadata` of a recording; an empty one for a single file.

    Args:
        path: pathlib.Path of the folder or the storage file.
    """
    metadata, file = Metadata(), path / METADATA
    if not path.is_dir():
        return metadata
    if not file.exists() and not file.is_symlink():
        metadata.faults.append(f"no {METADATA}: how many messages there were is unknown")
        return metadata
    try:
        content = read_yaml(file, LARGEST).get(ROOT)
        if not isinstance(content, dict):
            raise InputError(f"expected a mapping under {ROOT}, found {brief(content)}")
    except InputError as error:
        metadata.faults.append(f"{METADATA} cannot be read: how many messages there were is unknown ({error})")
        return metadata
    _read_files(content.get("relative_file_paths"), metadata)
    _read_counts(content.get("topics_with_message_count"), metadata)
    _read_custom_data(content.get("custom_data"), metadata)
    return metadata


def _read_files(names, metadata):
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        metadata.faults.append(f"{METADATA}: relative_file_paths: expected a list of names, found {brief(names)}")
        return
    for name in names:
        plain = PurePath(name).name  # recorders before version 4 prefix the folder
        if plain in metadata.files:
            metadata.faults.append(f"{METADATA}: lists {plain} more than once; it is read once")
        else:
            metadata.files.append(plain)


def _read_counts(topics, metadata):
    for entry in topics if isinstance(topics, list) else [topics]:
        try:
            name, count = entry["topic_metadata"]["name"], entry["message_count"]
        except (KeyError, TypeError, IndexError):
            name, count = None, None
        if not isinstance(name, str) or not isinstance(count, int) or isinstance(count, bool) or count < 0:
            metadata.faults.append(
                f"{METADATA}: topics_with_message_count: expected topics with names and counts, found {brief(entry)}"
            )
        else:
            metadata.counts[name] = metadata.counts.get(name, 0) + count


def _read_custom_data(custom, metadata):
    if custom is None:
        return
    if not isinstance(custom, dict) or not all(isinstance(part, str) for pair in custom.items() for part in pair):
        metadata.faults.append(f"{METADATA}: custom_data: expected texts by name, found {brief(custom)}")
    else:
        metadata.custom_data = custom
