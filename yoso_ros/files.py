# SPDX-License-Identifier: Apache-2.0
"""Writing files so that no reader ever sees half of one."""

import contextlib
import json
import math
import os
from pathlib import Path


@contextlib.contextmanager
def atomic_path(path):
    """A temporary path beside `path` to write to; renamed to `path` when the block ends, removed if it raises.

    The temporary name ends in that of `path`, for writers that choose the format by the suffix, and carries the process
    id, so that two processes do not write into one file.

    Args:
        path: where the finished file goes; its folder is made if missing.

    Yields:
        pathlib.Path of the temporary file, which the block must create.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_file(path, content):
    """Write bytes or text (as UTF-8) atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path, content):
    """Write plain values as JSON, atomically; a number that does not exist (NaN) becomes null."""
    write_file(path, json.dumps(without_nan(content), indent=1))


def without_nan(content):
    """Plain values with None in place of every NaN, which JSON does not have."""
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content
