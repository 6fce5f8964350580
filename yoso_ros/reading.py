# SPDX-License-Identifier: Apache-2.0
"""Reading of untrusted input: files that may be pipes or huge, arbitrary JSON, names that lead out of a folder.

Every fault is a single `InputError` with its location.
"""

import json
import os
import stat
from pathlib import Path, PurePath

from yoso_ros.errors import InputError, brief

LONGEST_NAME = 1000  # characters of a name with its folders
LARGEST_TEXT = 64 << 20  # bytes
LARGEST_JSON = 2 << 30  # bytes; the instances of COCO's training images are 450 MB


def read_bytes(path, what, largest):
    """The bytes of a regular file.

    Args:
        path: of the file. what: what is expected, starting with an article. largest: maximum size in bytes.

    Raises:
        InputError: there is no file, it is a folder, pipe or device, it is too large, or it cannot be read.
    """
    path = Path(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path}: expected {what}, found a folder, pipe or device")
        if status.st_size > largest:
            raise InputError(f"{path}: expected {what} of at most {largest} bytes, found {status.st_size}")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected {what}, found none") from error
    except OSError as error:
        raise InputError(f"{path}: expected {what}, but it cannot be read: {error.strerror}") from error


def read_text(path, what="a text file"):
    """The text of a UTF-8 file. Raises `InputError` as `read_bytes`, or if the bytes are not UTF-8."""
    data = read_bytes(path, what, LARGEST_TEXT)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected text in UTF-8, found byte {data[error.start]:#04x}") from error


def read_json(path, what="a JSON file"):
    """The plain values of a JSON file. Raises `InputError` as `read_bytes` and `parse_json`."""
    return parse_json(read_bytes(path, what, LARGEST_JSON), path, what)


def parse_json(text, where, what="a JSON text"):
    """The plain values of a JSON text or its bytes.

    Raises:
        InputError: not JSON, not UTF, or nested too deeply; the message starts with `where`.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{where}: expected {what}, it is not valid JSON: {str(error)[:200]}") from error
    except RecursionError as error:
        raise InputError(f"{where}: expected {what}, it is not valid JSON: nested too deeply") from error


def path_inside(folder, name, where):
    """`folder`/`name` for a name from a file, which must not lead out of the folder.

    Raises:
        InputError: the name is not text, empty, absolute, too long, has "..", or is not a valid file name; the message
            starts with `where`.
    """
    if not isinstance(name, str) or not name:
        raise InputError(f"{where}: expected the name of a file, found {brief(name)}")
    try:
        usable = b"\0" not in os.fsencode(name) and len(name) <= LONGEST_NAME
    except UnicodeEncodeError:
        usable = False
    if not usable or PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise InputError(f"{where}: expected the name of a file inside {folder}, found {brief(name)}")
    return Path(folder) / name
