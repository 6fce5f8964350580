# SPDX-License-Identifier: Apache-2.0
"""Files that may be had again, such as exported graphs: kept with their digests, made anew when they are damaged.

A flipped bit in a graph changes what a network finds without any error of the engine that runs it.
"""

import hashlib
import logging

from yoso_ros.files import WriteError, write_file

_LOG = logging.getLogger(__name__)
DIGEST_SUFFIX = ".sha256"  # of the file beside each kept one
DIGESTS_FILE = "SHA256SUMS"  # in each kept folder, as `sha256sum -c` reads it
_BLOCK = 1 << 20  # bytes read at a time


def write_kept(path, content):
    """Write bytes and their digest; a failure is a warning only."""
    try:
        write_file(path, content)
        write_file(_digest_path(path), hashlib.sha256(content).hexdigest())
    except WriteError as error:
        _LOG.warning("%s; the next start makes it again", error)


def read_kept(path):
    """The bytes of a kept file; None where there is none or where it is damaged, which is said."""
    if not path.is_file():
        return None
    content = path.read_bytes()
    digest = _digest_path(path)
    if not digest.is_file() or digest.read_text(errors="replace").strip() != hashlib.sha256(content).hexdigest():
        _LOG.warning("%s is damaged (its digest differs): making it again", path)
        return None
    return content


def write_digests(folder):
    """Write the digests of all files of a folder into it."""
    names = sorted(path.name for path in folder.iterdir() if path.name != DIGESTS_FILE)
    write_file(folder / DIGESTS_FILE, "".join(f"{_file_digest(folder / name)}  {name}\n" for name in names))


def is_whole(folder):
    """Whether every file of a kept folder has its digest; a difference is said."""
    try:
        lines = [line.split("  ", 1) for line in (folder / DIGESTS_FILE).read_text().splitlines()]
        names = sorted(path.name for path in folder.iterdir() if path.name != DIGESTS_FILE)
        whole = [line[1] for line in lines] == names and all(
            _file_digest(folder / name) == digest for digest, name in lines
        )
    except (OSError, ValueError, IndexError):
        whole = False
    if not whole:
        _LOG.warning("%s is damaged (a digest differs): making it again", folder)
    return whole


def _digest_path(path):
    return path.with_name(path.name + DIGEST_SUFFIX)


def _file_digest(path):
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
