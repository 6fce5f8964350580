# SPDX-License-Identifier: Apache-2.0
"""Copy one file from a URL or a folder into a part file, resuming an interrupted transfer.

pooch transfers the bytes (URLs, redirects, proxies, certificates, progress). This module adds the rest: the part is
kept and resumed as long as the server confirms that the file has not changed, and a web page instead of a file is
recognised.
"""

import contextlib
import errno
import json
import logging
import shutil
import time

from yoso_ros.errors import InputError
from yoso_ros.files import write_json
from yoso_ros.weights.progress import MEGA, progress_of

_LOG = logging.getLogger(__name__)
ATTEMPTS = 4
PAUSE_S = 1.0  # before the second attempt, doubled each time: a robot may start before its network
TIMEOUT_S = 30.0  # without receiving a byte
CHUNK = 1 << 14  # bytes at a time; an incomplete chunk is lost when the connection breaks
PAGE_STARTS = (b"<!doctype", b"<html", b"<?xml")


def transfer(url, part):
    """Download the file at `url` into `part`, resuming an earlier attempt.

    Args:
        url: http or https address.
        part: pathlib.Path of the part file, in an existing folder; PART.json next to it identifies the complete file.

    Raises:
        InputError: the file is not available, or there is no space for it; the part is kept.
    """
    _, requests = _libraries()
    started = False
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_S * 2 ** (attempt - 1))
        try:
            _attempt(url, part)
            break
        except requests.HTTPError as error:
            reason = f"the server answered {error.response.status_code} {error.response.reason}"
            if error.response.status_code == 416:  # the part is longer than the file, so it is not a part of it
                discard(part)
            elif error.response.status_code < 500 and error.response.status_code not in (408, 429):
                raise InputError(f"cannot fetch {url}: {reason}") from error
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            reason = f"{_plain(error)}"
        except requests.RequestException as error:
            raise InputError(f"cannot fetch {url}: {_plain(error)}") from error
        except OSError as error:
            raise _no_room(part, error) from error
        if not started and attempt + 1 < ATTEMPTS:
            _LOG.warning("%s: %s; trying again", url, reason)
            started = True
    else:
        raise InputError(f"cannot fetch {url}: {reason}{_kept(part)}")
    if is_page(part):
        discard(part)
        raise _page(url)


def copy(source, part):
    """Copy a file of a mirror folder into `part`.

    Raises:
        InputError: there is no such file, or no space for it.
    """
    if not source.is_file():
        raise InputError(f"expected {source} on the mirror YOSO_MIRROR, found none")
    discard(part)
    try:
        _check_room(part, source.stat().st_size)
        shutil.copyfile(source, part)
    except OSError as error:
        raise _no_room(part, error) from error


def discard(part):
    """Delete a part file."""
    part.unlink(missing_ok=True)
    _record(part).unlink(missing_ok=True)


def is_page(path):
    """Whether a file is an HTML or XML page."""
    with path.open("rb") as file:
        return file.read(256).lstrip().lower().startswith(PAGE_STARTS)


def _attempt(url, part):
    pooch, _ = _libraries()
    validator = _validator(url, part)
    with part.open("ab" if validator else "wb") as file:
        offset = file.tell()
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
        with contextlib.closing(progress_of(part.name.removesuffix(".part"))) as progress:

            def judge(response, **_):
                if response.status_code == 206 and offset:
                    progress.update(offset)
                elif response.status_code == 200:
                    _begin(response, url, part, file)

            fetch = pooch.HTTPDownloader(progress, CHUNK, headers=headers, timeout=TIMEOUT_S, hooks={"response": judge})
            fetch(url, file, None)


def _begin(response, url, part, file):
    """The whole file will be sent: discard the content of the part."""
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise _page(url)
    if file.tell():
        file.seek(0)
        file.truncate()
    _check_room(part, int(response.headers.get("Content-Length", 0)))
    validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
    if validator and not validator.startswith("W/"):
        write_json(_record(part), {"url": url, "validator": validator})
    else:
        _record(part).unlink(missing_ok=True)


def _validator(url, part):
    """The validator with which the server tells whether the file is unchanged; None if the part cannot be resumed."""
    try:
        record = json.loads(_record(part).read_text())
    except (OSError, ValueError):
        return None
    return record.get("validator") if part.is_file() and record.get("url") == url else None


def _record(part):
    return part.with_name(f"{part.name}.json")


def _check_room(part, size):
    if size > shutil.disk_usage(part.parent).free:
        raise OSError(errno.ENOSPC, f"the file has {size / MEGA:.0f} MB")


def _no_room(part, error):
    if error.errno == errno.ENOSPC:
        needs = f" ({error.strerror})" if "MB" in str(error.strerror) else ""
        return InputError(
            f"no room in {part.parent}{needs}: free some, or set YOSO_CACHE to another folder; the part is kept"
        )
    return InputError(f"{part} cannot be written: {error.strerror or error}; set YOSO_CACHE to another folder")


def _page(url):
    return InputError(
        f"{url}: expected weights, found a web page (a network's login page, or a notice that the file is gone)"
    )


def _kept(part):
    size = part.stat().st_size if part.is_file() else 0
    return (
        f"; {size / MEGA:.1f} MB are kept and the next attempt resumes from there"
        if size and _record(part).exists()
        else ""
    )


def _plain(error):
    """The root cause of a chain of network errors, in one line."""
    text = " ".join(str(error).split())
    for known, plain in (
        ("NameResolutionError", "no such name, or no network"),
        ("Connection refused", "connection refused"),
        ("Network is unreachable", "no network"),
        ("IncompleteRead", "the connection broke off"),
        ("timed out", "no answer in time"),
        ("ProxyError", "the proxy does not answer"),
    ):
        if known in text:
            return plain
    return text


def _libraries():
    try:
        import pooch
        import requests
    except ImportError as error:
        raise InputError(f"fetching weights needs the package {error.name}: pip install pooch") from error
    return pooch, requests
