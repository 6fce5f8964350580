# SPDX-License-Identifier: Apache-2.0
"""Atomic writing of files: no reader ever sees a partial file, and no leftovers remain."""

import contextlib
import errno
import json
import math
import os
import re
import shutil
from pathlib import Path

from yoso_ros.errors import InputError


class WriteError(InputError, OSError):
    """A file cannot be written; the message says which, why, and how much space it needs if that is the reason."""


@contextlib.contextmanager
def atomic_path(path, needed_bytes=None):
    """A temporary path next to `path` to write to; renamed to `path` when the block ends, removed if it raises.

    The temporary name is `.PID.NAME`: it keeps the suffix, for writers that choose the format by it, and two processes
    do not write to the same file. Leftovers of the same file from killed processes are removed.

    Args:
        path: where the finished file goes; its folder is created if missing.
        needed_bytes: size of the content if known, for the message about a full disk.

    Yields:
        pathlib.Path of the temporary file, which the block must create.

    Raises:
        WriteError: the disk is full, or the folder cannot be written.
    """
    path = Path(path)
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        yield temporary
        os.replace(temporary, path)
    except WriteError:
        raise
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)  # before checking the free space
        raise write_error(path, error, needed_bytes) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def temporary_path(path):
    """The temporary path to which this process writes `path`: `.PID.NAME` next to it."""
    return path.with_name(f".{os.getpid()}.{path.name}")


def write_error(path, error, needed_bytes=None):
    """The `WriteError` for an `OSError`; `needed_bytes` is the size of the content if known."""
    return WriteError(f"{path} cannot be written: {_reason(error, path, needed_bytes)}")


def write_file(path, content):
    """Write bytes or text (as UTF-8) atomically.

    Raises:
        WriteError: the disk is full, or the folder cannot be written.
    """
    # File names may contain bytes that are not valid text.
    content = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    with atomic_path(path, len(content)) as temporary:
        temporary.write_bytes(content)


def write_json(path, content):
    """Write plain values as JSON, atomically; NaN becomes null."""
    write_file(path, json.dumps(without_nan(content), indent=1))


def without_nan(content):
    """Plain values with None in place of every NaN, which JSON does not have."""
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content


def _reason(error, path, needed_bytes):
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error.strerror or str(error)
    needed = "" if needed_bytes is None else f"it needs {needed_bytes / 1e6:.1f} MB, and "
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(path.parent).free / 1e6
        return f"no space left: {needed}{free:.1f} MB are free there"
    return "no space left"


def remove_leftovers(path):
    """Remove leftovers of `path` from processes that no longer exist: their `temporary_path`, a file or a folder."""
    for old in path.parent.glob(f".*.{_literally(path.name)}"):
        owner = re.fullmatch(r"\.(\d+)\." + re.escape(path.name), old.name)
        if owner and not _is_running(int(owner[1])):
            if old.is_dir() and not old.is_symlink():
                shutil.rmtree(old, ignore_errors=True)
            with contextlib.suppress(OSError):
                old.unlink(missing_ok=True)


def _literally(name):
    return re.sub(r"([\[\]*?])", r"[\1]", name)


def _is_running(process_id):
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # of another user
    return True
