# SPDX-License-Identifier: Apache-2.0
"""One file from an address or a folder into a part file, going on where a broken transfer ended.

pooch moves the bytes (addresses, redirects, proxies, certificates, progress); here is what it leaves open: the part is
kept and continued while the server says that the file is still the same, and a page in place of a file is recognised.
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
PAUSE_S = 1.0  # before the second attempt, then twice as long each time: a robot may be up before its network
TIMEOUT_S = 30.0  # without a single byte
CHUNK = 1 << 14  # bytes at a time; what has come of a chunk is lost when the connection breaks
PAGE_STARTS = (b"<!doctype", b"<html", b"<?xml")


def transfer(url, part):
    """Bring the file at `url` whole into `part`; what an earlier attempt left there is continued.

    Args:
        url: http or https address.
        part: pathlib.Path of the part file, in a folder that exists; beside it PART.json tells what it is part of.

    Raises:
        InputError: the file is not to be had, or there is no room for it; the part is kept.
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
            reason = f"the server says {error.response.status_code} {error.response.reason}"
            if error.response.status_code == 416:  # the part is longer than the file: not a part of it
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
    """Bring a file of a mirror folder into `part`.

    Raises:
        InputError: there is no such file, or no room for it.
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
    """Forget a part file."""
    part.unlink(missing_ok=True)
    _story(part).unlink(missing_ok=True)


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
    """The whole file is about to come: whatever the part holds is void."""
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise _page(url)
    if file.tell():
        file.seek(0)
        file.truncate()
    _check_room(part, int(response.headers.get("Content-Length", 0)))
    validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
    if validator and not validator.startswith("W/"):
        write_json(_story(part), {"url": url, "validator": validator})
    else:
        _story(part).unlink(missing_ok=True)


def _validator(url, part):
    """What the server is asked whether the part is of the same file still; None where it cannot be continued."""
    try:
        story = json.loads(_story(part).read_text())
    except (OSError, ValueError):
        return None
    return story.get("validator") if part.is_file() and story.get("url") == url else None


def _story(part):
    return part.with_name(f"{part.name}.json")


def _check_room(part, size):
    if size > shutil.disk_usage(part.parent).free:
        raise OSError(errno.ENOSPC, f"the file has {size / MEGA:.0f} MB")


def _no_room(part, error):
    if error.errno == errno.ENOSPC:
        needs = f" ({error.strerror})" if "MB" in str(error.strerror) else ""
        return InputError(
            f"no room in {part.parent}{needs}: free some, or let YOSO_CACHE name another folder; the part is kept"
        )
    return InputError(f"{part} cannot be written: {error.strerror or error}; let YOSO_CACHE name another folder")


def _page(url):
    return InputError(
        f"{url}: expected weights, found a web page (the login page of a network, or what says that the file is gone)"
    )


def _kept(part):
    size = part.stat().st_size if part.is_file() else 0
    return (
        f"; {size / MEGA:.1f} MB are kept, the next attempt goes on from there"
        if size and _story(part).exists()
        else ""
    )


def _plain(error):
    """The last cause of a chain of network errors, in one line."""
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
