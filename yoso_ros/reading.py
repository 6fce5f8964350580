# SPDX-License-Identifier: Apache-2.0
"""Reading what comes from outside: files that may be pipes or huge, JSON that may be anything, names that lead away.

Whatever is wrong is one `InputError` with the place.
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
        path: of the file. what: is expected there, begins with an article. largest: bytes that it may have.

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
        raise InputError(f"{path}: expected {what}, it cannot be read: {error.strerror}") from error


def read_text(path, what="a text file"):
    """The text of a file in UTF-8. Raises `InputError` as `read_bytes`, or the bytes are no UTF-8."""
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
        InputError: not JSON, not UTF, or nested too deeply; begins with `where`.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{where}: expected {what}, it is not valid JSON: {str(error)[:200]}") from error
    except RecursionError as error:
        raise InputError(f"{where}: expected {what}, it is not valid JSON: nested too deeply") from error


def path_inside(folder, name, where):
    """`folder`/`name` for a name that a file gives, which must not lead out of the folder.

    Raises:
        InputError: the name is no text, empty, absolute, too long, has "..", or no file can be called so; it
            begins with `where`.
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
