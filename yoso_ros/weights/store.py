# SPDX-License-Identifier: Apache-2.0
"""The folder of downloaded weights: one transfer at a time, strict checks before a file is accepted, and its digest.

No digests of the authors' releases have been published, so the first download is trusted: its keys and shapes must be
those of the model, its SHA-256 is recorded next to it, and a later difference is an error.
"""

import contextlib
import hashlib
import json
import logging
import os
import time
from pathlib import Path

from yoso_ros.errors import InputError
from yoso_ros.files import write_json
from yoso_ros.resources import cache_folder
from yoso_ros.weights.transfer import copy, discard, transfer

_LOG = logging.getLogger(__name__)


def weights_folder():
    """Folder of downloaded weights, in the cache folder."""
    return cache_folder() / "weights"


def place_of(source):
    """Path of the file of a source, whether or not it exists: pathlib.Path."""
    return weights_folder() / source.file_name


def offline():
    """Whether YOSO_OFFLINE forbids the network."""
    return os.environ.get("YOSO_OFFLINE", "") not in ("", "0")


def read_record(path):
    """The record of a download: dict with "url", "sha256", "bytes", "date"; {} if there is none."""
    try:
        return json.loads(_record(path).read_text())
    except (OSError, ValueError):
        return {}


def obtain(source, check, download=True):
    """The file of a source, from the cache or downloaded.

    Args:
        source: a `Source` with an address.
        check: called with the path of a new file; raises InputError if it is not the expected one.
        download: if False, raise if the file does not exist.

    Returns:
        pathlib.Path of the file.

    Raises:
        InputError: the file is missing and cannot or may not be downloaded, or it is not the expected one.
    """
    path = place_of(source)
    if path.is_file():
        return _known(path, source, check)
    by_hand = f"without a network, copy {source.url} to {path}"
    if not download:
        raise InputError(f"the weights of {source.name} are not here: run `yoso-ros download {source.name}`; {by_hand}")
    try:
        with _one_process(path):
            if not path.is_file():  # another process may have downloaded it meanwhile
                _fetch(source, path, check, by_hand)
    except OSError as error:
        raise InputError(
            f"{path.parent} cannot be written ({error.strerror or error}): set YOSO_CACHE to another folder; {by_hand}"
        ) from error
    return path


def file_digest(path):
    """SHA-256 of a file: str of 64 hex digits."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def weights_digest(path):
    """SHA-256 of a weights file, or of the weights in the folder of a hub checkpoint: str of 64 hex digits."""
    if not path.is_dir():
        return file_digest(path)
    digests = [file_digest(file) for file in sorted(path.glob("*.safetensors"))]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _known(path, source, check):
    record, digest = read_record(path), file_digest(path)
    if not record:  # put there by hand
        _compare(digest, source.sha256, path, "config/weights.yaml")
        check(path)
        with contextlib.suppress(OSError):  # a read-only folder
            _write_record(path, None, digest)
        return path
    _compare(digest, record["sha256"], path, _record(path))
    return path


def _compare(digest, expected, path, origin):
    if expected and not digest.startswith(expected):
        raise InputError(
            f"{path}: expected SHA-256 {expected[:16]} ({origin}), found {digest[:16]}: the file was damaged or "
            "changed. Nothing was removed; move it away to download it again"
        )


def _fetch(source, path, check, by_hand):
    part = path.with_name(f"{path.name}.part")
    mirror = os.environ.get("YOSO_MIRROR", "")
    is_folder = mirror and not mirror.startswith(("http://", "https://"))
    url = f"{mirror.rstrip('/')}/{source.file_name}" if mirror and not is_folder else source.url
    if offline() and not is_folder:
        raise InputError(f"YOSO_OFFLINE is set and the weights of {source.name} are not here: {by_hand}")
    origin = str(Path(mirror.removeprefix("file://")) / source.file_name) if is_folder else url
    _LOG.info("fetching %s into %s", origin, path.parent)
    try:
        copy(Path(origin), part) if is_folder else transfer(url, part)
    except InputError as error:
        raise InputError(f"{error}; {by_hand}") from error
    digest = file_digest(part)
    expected = source.sha256 or read_record(path).get("sha256")
    if expected and not digest.startswith(expected):
        aside = path.with_name(f"{path.name}.refused")
        os.replace(part, aside)
        discard(part)
        said_by = "config/weights.yaml" if source.sha256 else _record(path)
        raise InputError(
            f"{origin}: expected SHA-256 {expected[:16]} ({said_by}), found {digest[:16]}: not the same file as "
            f"before, kept as {aside}; if it is the right one, remove the record and move it to {path}"
        )
    try:
        check(part)
    except InputError:
        discard(part)
        raise
    os.replace(part, path)
    discard(part)
    _write_record(path, origin, digest)
    _LOG.info("%s: %.1f MB, SHA-256 %s", path, path.stat().st_size / 1e6, digest)


def _record(path):
    return path.with_name(f"{path.name}.json")


def _write_record(path, url, digest):
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    write_json(
        _record(path),
        {"url": url or "put there by hand", "sha256": digest, "bytes": path.stat().st_size, "date": stamp},
    )


@contextlib.contextmanager
def _one_process(path):
    try:
        from filelock import FileLock, Timeout
    except ImportError as error:
        raise InputError("fetching weights needs the package filelock: pip install filelock") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _LOG.info("another process fetches %s: waiting for it", path.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
