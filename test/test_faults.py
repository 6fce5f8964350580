# SPDX-License-Identifier: Apache-2.0
"""Faults of the machine: one line each, nothing half-written, and the state before is kept and named."""

import dataclasses
import errno
import os
import subprocess
import sys
import threading
import types

import cv2
import numpy as np
import pytest
import torch
from patience import PATIENCE_S

import yoso_ros.cli
from yoso_ros.cli.faults import fault_line
from yoso_ros.errors import InputError, brief
from yoso_ros.inference.kept_files import is_whole, read_kept, write_digests, write_kept
from yoso_ros.resources import cache_folder


def opencv_error():
    try:
        cv2.imdecode(np.zeros(0, np.uint8), 1)
    except cv2.error as error:
        return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "out of memory: use smaller images"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
            "out of memory",
        ),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "out of memory"),
        (OSError(errno.EMFILE, "Too many open files"), "too many open files: the process may open "),
        (ImportError("libc10.so: cannot open shared object file: Too many open files"), "too many open files"),
        (OSError(errno.ENOSPC, "No space left on device", "out/x"), "out/x: No space left on device"),
        (RuntimeError("can't start new thread"), "no more threads: "),
        (RuntimeError("Thread constructor failed: Resource temporarily unavailable"), "no more threads: "),
        (InputError("a\x1b[31m\udce9\nb"), "a\\x1b[31m\\udce9\nb"),
        (KeyError("x"), None),
        (opencv_error(), None),
    ],
)
def test_faults_of_the_machine_are_a_line(error, said, monkeypatch, capsys):
    line = fault_line(error)
    assert line is None if said is None else line.startswith(said)

    def run(_):
        raise error

    command = types.SimpleNamespace(SUMMARY="s", EXAMPLE="e", add_arguments=lambda parser: None, run=run)
    monkeypatch.setattr(yoso_ros.cli.importlib, "import_module", lambda name: command)
    if said is None:
        with pytest.raises(type(error)):
            yoso_ros.cli.main(["segment"])
    else:
        assert yoso_ros.cli.main(["segment"]) == 2
        assert capsys.readouterr().err == f"yoso-ros segment: {line}\n"


@pytest.mark.parametrize("more", [0, 1])
def test_a_command_with_few_descriptors(tmp_path, more):
    """Imports need one at a time, and what else needs one is not certain."""
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((16, 16, 3), np.uint8))
    code = (
        "import os, resource, sys; from yoso_ros.cli import main\n"
        f"most = len(os.listdir('/proc/self/fd')) - 1 + {more}\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (most, most)); sys.exit(main(sys.argv[1:]))"
    )
    words = ["segment", tmp_path / "x.png", "--output", tmp_path / "out", "--engine", "torch"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode in ((2,) if more == 0 else (0, 2)) and "Traceback" not in done.stderr, done.stderr
    if done.returncode:
        assert done.stderr.splitlines()[-1].startswith("yoso-ros segment: too many open files")
    assert not [path for path in tmp_path.glob("out/*") if path.name.startswith(".")]


def test_a_command_whose_thread_cannot_start(tmp_path, monkeypatch, capsys):
    """A stand-in for a limit of threads, which does not bind root."""

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setenv("YOSO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(threading.Thread, "start", refuse)
    pytest.importorskip("openvino", reason="needs openvino")
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((16, 16, 3), np.uint8))
    # The conversion tells of its progress in a thread.
    words = ["segment", tmp_path / "x.png", "--output", tmp_path / "out", "--engine", "openvino"]
    assert yoso_ros.cli.main([*map(str, words)]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("yoso-ros segment: no more threads: ")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    assert not list((tmp_path / "cache").glob("*openvino*"))


def test_a_value_in_an_error_is_short():
    bomb = ["x"] * 9
    for _ in range(9):
        bomb = [bomb] * 9
    assert all(len(brief(value)) <= 80 for value in (bomb, "x" * 10**6, {"a": bomb}, 10**999))


def test_what_another_user_has_put_into_the_cache_is_not_read(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("YOSO_CACHE", str(tmp_path / "cache"))
    assert cache_folder().stat().st_mode & 0o777 == 0o700
    kept, folder = tmp_path / "cache/a.onnx", tmp_path / "cache/graph"
    write_kept(kept, b"content")
    folder.mkdir()
    (folder / "graph.bin").write_bytes(b"content")
    write_digests(folder)
    assert read_kept(kept) == b"content" and is_whole(folder)
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(tmp_path).st_uid + 4321)
    monkeypatch.setattr("yoso_ros.resources.ROOT_USER", os.stat(tmp_path).st_uid + 1)
    assert read_kept(kept) is None and not is_whole(folder) and "belongs to another user" in caplog.text
    with pytest.raises(InputError, match="belongs to user .*YOSO_CACHE"):
        cache_folder()


def test_two_processes_that_keep_one_file_leave_it_whole(tmp_path):
    """Whoever reads meanwhile has one content or the other, or nothing, and never a mixture."""
    path, contents = tmp_path / "kept.onnx", [bytes([n]) * 200_000 for n in (1, 2)]
    children = []
    for content in contents:
        child = os.fork()
        if not child:
            for _ in range(60):
                write_kept(path, content)
            os._exit(0)
        children.append(child)
    seen = [read_kept(path) for _ in range(100)]
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    assert set(seen) <= {None, *contents}
    write_kept(path, contents[0])
    assert read_kept(path) == contents[0] and len(list(tmp_path.iterdir())) == 2


def test_a_run_is_not_resumed_with_another_recipe(tmp_path, caplog):
    from training.small_training import RECIPE, small_trainer

    trainer = small_trainer(tmp_path)
    trainer.save_state()
    trainer.config = dataclasses.replace(RECIPE, iterations=8)
    trainer.load_state()
    assert "resumed with another setting: begun with iterations 6, now 8" in caplog.text
    for name, value in (("seed", 7), ("learning_rate", 1.0)):
        trainer.config = dataclasses.replace(RECIPE, **{name: value})
        with pytest.raises(InputError, match=f"state.pt: the run was begun with {name} "):
            trainer.load_state()


def test_a_disk_that_is_full_while_training(tmp_path):
    from training.small_training import small_trainer

    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    try:
        trainer = small_trainer(tmp_path)
        (tmp_path / "state.pt").write_bytes(b"before")
        with pytest.raises(
            InputError, match=r"state\.pt cannot be written: no space left: it needs .* --resume"
        ) as caught:
            trainer.model.big = torch.nn.Parameter(torch.zeros(2_000_000))
            trainer.save_state()
        assert "\n" not in str(caught.value)
        assert [p.name for p in tmp_path.iterdir()] == ["state.pt"] and (
            tmp_path / "state.pt"
        ).read_bytes() == b"before"
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)
