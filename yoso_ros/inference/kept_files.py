# SPDX-License-Identifier: Apache-2.0
"""Cached files that can be regenerated, such as exported graphs: stored with digests and rebuilt when damaged.

A flipped bit in a graph changes the results of a network without any error from the engine that runs it.
"""

import hashlib
import logging

from yoso_ros.files import WriteError, write_file
from yoso_ros.resources import is_trusted

_LOG = logging.getLogger(__name__)
DIGEST_SUFFIX = ".sha256"  # of the digest file next to each cached one
DIGESTS_FILE = "SHA256SUMS"  # of a cached folder, in the format of `sha256sum -c`
_BLOCK = 1 << 20  # bytes read at a time


def write_kept(path, content):
    """Write bytes and their digest; a failure is a warning only."""
    try:
        write_file(path, content)
        write_file(_digest_path(path), hashlib.sha256(content).hexdigest())
    except WriteError as error:
        _LOG.warning("%s; the next start makes it again", error)


def read_kept(path):
    """The bytes of a cached file; None if it does not exist, is damaged or belongs to another user; both are logged."""
    if not path.is_file():
        return None
    if not is_trusted(path):
        _LOG.warning("%s belongs to another user: making it again", path)
        return None
    content = path.read_bytes()
    digest = _digest_path(path)
    if not digest.is_file() or digest.read_text(errors="replace").strip() != hashlib.sha256(content).hexdigest():
        _LOG.warning("%s is damaged (its digest differs): making it again", path)
        return None
    return content


def write_digests(folder, listing=None):
    """Write the digests of the files directly in a folder.

    Args:
        folder: pathlib.Path; subfolders are ignored.
        listing: file to write, `DIGESTS_FILE` in the folder by default.
    """
    listing = listing or folder / DIGESTS_FILE
    write_file(listing, "".join(f"{_file_digest(path)}  {path.name}\n" for path in _files(folder)))


def is_whole(folder, listing=None):
    """Whether the files directly in a folder match its digests; logs a mismatch. Arguments as in `write_digests`."""
    listing = listing or folder / DIGESTS_FILE
    try:
        strange = [path for path in (folder, *_files(folder)) if not is_trusted(path)]
        if strange:
            _LOG.warning("%s belongs to another user: making it again", strange[0])
            return False
        found = "".join(f"{_file_digest(path)}  {path.name}\n" for path in _files(folder))
        whole = listing.read_text(errors="replace") == found
    except OSError:
        whole = False
    if not whole:
        _LOG.warning("%s is damaged (a digest differs): making it again", folder)
    return whole


def _files(folder):
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.endswith(DIGESTS_FILE))


def _digest_path(path):
    return path.with_name(path.name + DIGEST_SUFFIX)


def _file_digest(path):
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
