# SPDX-License-Identifier: Apache-2.0
"""Writing files: whole or not at all, one line when the disk is full, nothing left of processes that are gone."""

import errno
import os
import subprocess
import sys

import pytest

from yoso_ros.errors import InputError
from yoso_ros.files import WriteError, atomic_path, write_file, write_json


def test_a_file_is_whole_or_absent(tmp_path):
    path = tmp_path / "deep/er/report.json"
    write_json(path, {"a": [1.5, float("nan")], "b": (True,)})
    assert path.read_text() == '{\n "a": [\n  1.5,\n  null\n ],\n "b": [\n  true\n ]\n}'
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        assert temporary.suffix == ".json" and temporary.parent == path.parent
        raise RuntimeError
    assert path.read_text().startswith('{\n "a"') and list(path.parent.iterdir()) == [path]


def test_a_full_disk_is_one_line_with_the_space_that_is_needed(tmp_path, monkeypatch):
    def full(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "kept.bin"
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_bytes", full)
        with pytest.raises(WriteError, match=r"kept\.bin cannot be written: no space left: it needs 3\.0 MB"):
            write_file(path, bytes(3_000_000))
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    assert issubclass(WriteError, InputError) and issubclass(WriteError, OSError)


def test_a_really_full_disk(tmp_path):
    """A file system of 64 kB, where it may be mounted."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    try:
        with pytest.raises(WriteError, match="no space left: it needs 1.0 MB, and 0.1 MB are free there"):
            write_file(tmp_path / "large.bin", bytes(1_000_000))
        assert not list(tmp_path.iterdir())
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_folder_that_is_none_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"file/report\.json cannot be written"):
        write_file(tmp_path / "file/report.json", b"")


def test_what_a_dead_process_left_is_removed(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead = tmp_path / f".{gone.pid}.a[1].json"
    alive, other = tmp_path / f".{os.getppid()}.a[1].json", tmp_path / f".{gone.pid}.b.json"
    for path in (dead, alive, other):
        path.write_text("half")
    write_file(tmp_path / "a[1].json", "{}")
    assert {p.name for p in tmp_path.iterdir()} == {"a[1].json", alive.name, other.name}
