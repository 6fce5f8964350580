# SPDX-License-Identifier: Apache-2.0
"""What counts as the weights of a model: strict checks, recorded digests, mirrors, no network, files put by hand."""

import pytest

from yoso_ros.errors import InputError
from yoso_ros.weights.sources import Source
from yoso_ros.weights.store import file_digest, obtain, place_of, read_record, weights_folder


def accept(path):
    """A check that every file passes."""


def refuse(path):
    raise InputError("it does not fit the model")


def test_a_file_that_fails_the_check_never_counts(source):
    with pytest.raises(InputError, match="does not fit"):
        obtain(source, refuse)
    assert not place_of(source).exists() and not read_record(place_of(source))
    obtain(source, accept)


def test_stated_digest(server, source, tmp_path):
    (tmp_path / "x").write_bytes(server.content)
    digest = file_digest(tmp_path / "x")
    stated = Source(name="some_model", url=source.url, sha256=digest[:8])
    obtain(stated, accept)
    place_of(source).unlink()
    place_of(source).with_name("file.bin.json").unlink()
    with pytest.raises(InputError, match=r"expected SHA-256 00000000 \(config/weights.yaml\), found " + digest[:16]):
        obtain(Source(name="some_model", url=source.url, sha256="00000000"), accept)
    assert not place_of(source).exists()


def test_a_later_difference_is_an_error_that_deletes_nothing(server, source, content):
    path = obtain(source, accept)
    first = read_record(path)
    path.rename(path.with_name("mine.bin"))
    server.content = b"PK another release"
    with pytest.raises(InputError, match=r"not the same file as before, kept as .*file.bin.refused; if it is the r"):
        obtain(source, accept)
    assert path.with_name("file.bin.refused").read_bytes() == server.content
    assert path.with_name("mine.bin").read_bytes() == content and read_record(path) == first and not path.exists()


def test_a_file_that_changed_on_the_disk(source, content):
    path = obtain(source, accept)
    path.write_bytes(content[:-1] + b"?")
    with pytest.raises(InputError, match="the file was damaged or changed. Nothing was removed"):
        obtain(source, accept)
    assert path.exists()


def test_put_there_by_hand(server, source, content):
    weights_folder().mkdir(parents=True)
    place_of(source).write_bytes(content)
    with pytest.raises(InputError, match="does not fit"):
        obtain(source, refuse)
    assert obtain(source, accept, download=False).read_bytes() == content
    assert read_record(place_of(source))["sha256"] == file_digest(place_of(source)) and not server.requests
    obtain(source, refuse)  # known by now: not checked again


def test_never_silently(server, source):
    with pytest.raises(InputError) as error:
        obtain(source, accept, download=False)
    assert str(error.value) == (
        f"the weights of some_model are not here: run `yoso-ros download some_model`; without a network, copy "
        f"{source.url} to {place_of(source)}"
    )
    assert not server.requests


def test_offline(server, source, monkeypatch):
    monkeypatch.setenv("YOSO_OFFLINE", "1")
    with pytest.raises(InputError, match=f"YOSO_OFFLINE is set .* copy {source.url} to {place_of(source)}"):
        obtain(source, accept)
    assert not server.requests


def test_mirror_address(server, content, monkeypatch):
    monkeypatch.setenv("YOSO_MIRROR", f"{server.url}/mirror/")
    path = obtain(Source(name="some_model", url="https://weights.example/a/b/file.bin"), accept)
    assert path.read_bytes() == content and server.requests == [("/mirror/file.bin", None)]


def test_mirror_folder(source, server, content, monkeypatch, tmp_path):
    monkeypatch.setenv("YOSO_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("YOSO_OFFLINE", "1")  # a folder is no network
    with pytest.raises(InputError, match=f"expected {tmp_path}/mirror/file.bin on the mirror"):
        obtain(source, accept)
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror/file.bin").write_bytes(content)
    assert obtain(source, accept).read_bytes() == content and not server.requests
    assert (tmp_path / "mirror/file.bin").exists()
