# SPDX-License-Identifier: Apache-2.0
"""Write rosbag2 recordings without ROS."""

import os
import shutil
from pathlib import Path

from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from yoso_ros.bags.checksums import add_checksums
from yoso_ros.bags.message_types import typestore
from yoso_ros.errors import InputError
from yoso_ros.files import remove_leftovers, temporary_path, write_error

STORAGES = ("mcap", "sqlite3")
METADATA_VERSION = 9  # of ROS 2 Jazzy


class BagWriter:
    """Writes a recording in a `with` block; the folder appears when the block ends without an error.

    Args:
        path: folder of the recording, which must not exist.
        storage: one of `STORAGES`.
        compress: whether to compress each message (zstd).

    Raises:
        InputError: the folder exists.
        WriteError: in the block and at its end; the disk is full, or the folder cannot be written.
    """

    def __init__(self, path, storage="mcap", compress=False):
        self._path = Path(path)
        if self._path.exists():
            raise InputError(f"{self._path} already exists; choose another path or delete it first")
        remove_leftovers(self._path)
        # The recording's files are named after its folder, so the unfinished one has the same name elsewhere.
        self._parent = temporary_path(self._path)
        self._writer = Writer(
            self._parent / self._path.name, version=METADATA_VERSION, storage_plugin=StoragePlugin[storage.upper()]
        )
        if compress:
            self._writer.set_compression(CompressionMode.MESSAGE, CompressionFormat.ZSTD)
        self._connections = {}

    def __enter__(self):
        try:
            self._parent.mkdir(parents=True)
            self._writer.open()
        except OSError as error:
            shutil.rmtree(self._parent, ignore_errors=True)
            raise write_error(self._path, error) from error
        return self

    def write(self, topic, recorded_ns, message):
        """Append a message of `yoso_ros.bags.message_types`, recorded at `recorded_ns` nanoseconds."""
        kind = message.__msgtype__
        self.write_serialized(topic, kind, recorded_ns, typestore().serialize_cdr(message, kind))

    def write_serialized(self, topic, kind, recorded_ns, data):
        """Append a message of type `kind` as CDR bytes, as received from DDS."""
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=typestore())
        self._writer.write(self._connections[topic], recorded_ns, data)

    def set_custom_data(self, key, text):
        """Store a text in metadata.yaml, read back as `Bag.custom_data`."""
        self._writer.set_custom_data(key, text)

    def __exit__(self, kind, error, _):
        try:
            if kind is None:
                self._finish()
            else:
                self._writer.abort()
        except OSError as fault:
            kind, error = kind or type(fault), error or fault
        finally:
            shutil.rmtree(self._parent, ignore_errors=True)
        if isinstance(error, OSError) and not isinstance(error, InputError):
            raise write_error(self._path, error) from error

    def _finish(self):
        self._writer.close()
        unfinished = self._parent / self._path.name
        for file in unfinished.glob("*.mcap"):
            add_checksums(file)
        os.replace(unfinished, self._path)
