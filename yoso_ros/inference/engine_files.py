# SPDX-License-Identifier: Apache-2.0
"""TensorRT engines as files, with a header stating what each was built from and for, to detect stale ones."""

import hashlib
import json

from yoso_ros.errors import InputError
from yoso_ros.inference.kept_files import write_kept

_MAGIC = b"yoso_ros engine 1\n"


def engine_file_name(model_name, key):
    """File name of an engine in the cache folder.

    Args:
        model_name: str.
        key: dict of plain values, everything that determines the engine.
    """
    return f"{model_name}-{hashlib.sha256(_line(key)).hexdigest()[:16]}.engine"


def write_engine(path, key, plan):
    """Store an engine; if the file cannot be written, that is a warning, not an error.

    Args:
        path: pathlib.Path.
        key: dict of plain values, everything that determines the engine.
        plan: bytes, the serialised engine.
    """
    header = _line({"key": key, "sha256": hashlib.sha256(plan).hexdigest()})
    write_kept(path, _MAGIC + header + b"\n" + plan)


def read_engine(path, key):
    """Read an engine back.

    Returns:
        (bytes of the engine, None), or (None, the reason why the file cannot be used) in words.

    Raises:
        InputError: the file was not written by this package and would be overwritten by a new engine.
    """
    if not path.is_file():
        return None, "there is none yet"
    content = path.read_bytes()
    if not _MAGIC.startswith(content[: len(_MAGIC)]):
        raise InputError(
            f"{path}: expected an engine file that yoso_ros wrote, found another file; give another path, or remove it"
        )
    header, _, plan = content[len(_MAGIC) :].partition(b"\n")
    try:
        found = json.loads(header)
        found_key, digest = dict(found["key"]), found["sha256"]
    except (ValueError, KeyError, TypeError):
        return None, "its header is damaged"
    wanted = json.loads(_line(key))
    changes = [
        f"{name} was {found_key.get(name)}, is {wanted.get(name)}"
        for name in sorted(wanted.keys() | found_key.keys())
        if found_key.get(name) != wanted.get(name)
    ]
    if changes:
        return None, "; ".join(changes)
    if hashlib.sha256(plan).hexdigest() != digest:
        return None, f"it is damaged ({len(plan)} bytes)"
    return plan, None


def _line(content):
    return json.dumps(content, sort_keys=True).encode()
