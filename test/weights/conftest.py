# SPDX-License-Identifier: Apache-2.0
"""A file, a server that has it, and a cache folder of the test's own."""

import random

import pytest

pytest.importorskip("pooch", reason="needs pooch")

from file_server import serving

from yoso_ros.weights import transfer
from yoso_ros.weights.sources import Source


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """The cache folder of this test alone, direct connections, and no pauses between attempts."""
    for name in ("YOSO_OFFLINE", "YOSO_MIRROR", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("YOSO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(transfer, "PAUSE_S", 0.01)
    return tmp_path / "cache"


@pytest.fixture
def content():
    """300000 bytes that are no page: bytes."""
    return b"PK" + random.Random(0).randbytes(299_998)


@pytest.fixture
def server(content):
    """A `FileServer` of the content."""
    with serving(content) as running:
        yield running


@pytest.fixture
def source(server):
    """A `Source` of the server's file."""
    return Source(name="some_model", url=f"{server.url}/file.bin")
