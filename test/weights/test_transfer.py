# SPDX-License-Identifier: Apache-2.0
"""Transfers from a real server on 127.0.0.1: whole, broken, continued, refused."""

import errno
import os
import shutil
import subprocess
import sys
import time
from collections import namedtuple

import pytest

from yoso_ros.errors import InputError
from yoso_ros.weights import store
from yoso_ros.weights.sources import Source
from yoso_ros.weights.store import obtain, place_of, read_record, weights_folder

FETCH = (
    "import logging, sys; logging.basicConfig(level=20);"
    "from yoso_ros.weights.sources import Source; from yoso_ros.weights.store import obtain;"
    "print(obtain(Source(name='some_model', url=sys.argv[1]), lambda path: None))"
)


def accept(path):
    """A check that every file passes."""


def files():
    """Names in the folder of weights, without locks."""
    return sorted(path.name for path in weights_folder().iterdir() if not path.name.endswith(".lock"))


def test_whole(server, source, content):
    path = obtain(source, accept)
    assert path == place_of(source) and path.read_bytes() == content
    assert files() == ["file.bin", "file.bin.json"]
    record = read_record(path)
    assert (record["url"], record["bytes"]) == (source.url, 300_000) and record["sha256"] == store.file_digest(path)
    obtain(source, accept)
    assert len(server.requests) == 1


def test_a_cut_connection_is_an_error_and_the_next_call_goes_on(server, source, content):
    server.behaviour = "cut"
    with pytest.raises(InputError, match=r"the connection broke off; 0.2 MB are kept and the next attempt resumes"):
        obtain(source, accept)
    assert not place_of(source).exists() and "file.bin.part" in files()
    server.behaviour, before = "whole", len(server.requests)
    assert obtain(source, accept).read_bytes() == content
    assert server.requests[before:] == [("/file.bin", "bytes=196608-")]
    assert files() == ["file.bin", "file.bin.json"]


def test_a_cut_connection_is_continued_at_once(server, source, content):
    server.behaviour = "cut once"
    assert obtain(source, accept).read_bytes() == content
    assert [wanted for _, wanted in server.requests] == [None, "bytes=49152-"]


@pytest.mark.parametrize("change", ["another file", "no ranges", "no validator"])
def test_a_part_of_another_file_is_not_continued(server, source, content, change):
    server.behaviour = "cut"
    if change == "no validator":
        server.etag = None
    with pytest.raises(InputError, match="broke off"):
        obtain(source, accept)
    server.behaviour = "whole"
    if change == "another file":
        server.content, server.etag = b"PK" + bytes(90_000), '"second"'
    server.ranges = change == "another file"
    assert obtain(source, accept).read_bytes() == server.content


def test_a_part_longer_than_the_file_is_dropped(server, source, content):
    server.behaviour = "cut"
    with pytest.raises(InputError, match="broke off"):
        obtain(source, accept)
    part = place_of(source).with_name("file.bin.part")
    part.write_bytes(part.read_bytes() + bytes(300_000))
    server.behaviour = "whole"
    assert obtain(source, accept).read_bytes() == content


def test_missing(server, source):
    server.behaviour = "missing"
    place = place_of(source)
    with pytest.raises(
        InputError, match=f"the server answered 404 Not Found; without a network, copy {source.url} to {place}"
    ):
        obtain(source, accept)
    assert len(server.requests) == 1  # asking again would not help


def test_busy_server_is_asked_again(server, source):
    server.behaviour = "busy"
    with pytest.raises(InputError, match="the server answered 503"):
        obtain(source, accept)
    assert len(server.requests) == 4


def test_redirect(server, source, content):
    server.behaviour = "redirect"
    assert obtain(source, accept).read_bytes() == content
    assert [path for path, _ in server.requests] == ["/file.bin", "/moved/file.bin"]


@pytest.mark.parametrize("behaviour", ["page", "page as bytes"])
def test_a_page_in_place_of_the_file(server, source, behaviour):
    server.behaviour = behaviour
    with pytest.raises(InputError, match="expected weights, found a web page"):
        obtain(source, accept)
    assert not [name for name in files() if not name.endswith(".part")]
    server.behaviour = "whole"
    obtain(source, accept)


def test_wrong_length(server, source):
    server.behaviour = "wrong length"
    with pytest.raises(InputError, match="the connection broke off"):
        obtain(source, accept)
    assert not place_of(source).exists()


def test_two_processes_at_once_fetch_once(server, source, content, tmp_path):
    server.behaviour, log, deadline = "slow", tmp_path / "log", time.monotonic() + 30
    with log.open("w") as sink:
        command = [sys.executable, "-c", FETCH, source.url]
        processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=sink) for _ in range(2)]
    try:
        while "another process fetches file.bin: waiting for it" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        server.release.set()
        assert [process.wait(20) for process in processes] == [0, 0], log.read_text()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert len(server.requests) == 1 and place_of(source).read_bytes() == content


def test_no_network(source):
    nowhere = Source(name="some_model", url="http://127.0.0.1:9/file.bin")
    with pytest.raises(
        InputError, match=r"cannot fetch http://127.0.0.1:9/file.bin: connection refused; without a net"
    ):
        obtain(nowhere, accept)


def test_proxy_of_the_environment(server, content, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    source = Source(name="some_model", url="http://weights.example/file.bin")
    assert obtain(source, accept).read_bytes() == content
    assert server.requests == [("http://weights.example/file.bin", None)]


def test_folder_that_cannot_be_written(source, own_cache):
    own_cache.write_text("a file in the place of the folder")
    with pytest.raises(InputError, match=f"{own_cache}/weights cannot be written .*YOSO_CACHE"):
        obtain(source, accept)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who may not write")
def test_read_only_cache_is_read(server, source, content, tmp_path_factory, monkeypatch):
    import tempfile
    from pathlib import Path

    cache = Path(tempfile.mkdtemp())
    monkeypatch.setenv("YOSO_CACHE", str(cache))
    weights_folder().mkdir()
    weights_folder().chmod(0o755)
    cache.chmod(0o755)
    try:
        os.seteuid(65534)
        with pytest.raises(InputError, match=r"cannot be written \(Permission denied\): set YOSO_CACHE"):
            obtain(source, accept)
        os.seteuid(0)
        place_of(source).write_bytes(content)
        os.seteuid(65534)
        assert obtain(source, accept).read_bytes() == content and not server.requests
    finally:
        os.seteuid(0)
        shutil.rmtree(cache)


def test_full_disk(server, source):
    weights_folder().mkdir(parents=True)
    place_of(source).with_name("file.bin.part").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"no room in .*weights: free some, or set YOSO_CACHE"):
        obtain(source, accept)
    assert not place_of(source).exists()


def test_too_little_room_is_told_before_the_transfer(server, source, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    with pytest.raises(InputError, match=r"no room in .* \(the file has 0 MB\)"):
        obtain(source, accept)
    part = place_of(source).with_name("file.bin.part")
    assert not part.exists() or part.stat().st_size == 0


def test_other_errors_of_the_disk_name_the_file(server, source, monkeypatch):
    def broken(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(shutil, "disk_usage", broken)
    with pytest.raises(InputError, match="file.bin.part cannot be written: Input/output error"):
        obtain(source, accept)
