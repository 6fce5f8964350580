# SPDX-License-Identifier: Apache-2.0
"""A batch that is shared out, over two processes or over several passes, trains like the joint batch in one process."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from patience import PATIENCE_S
from small_training import RECIPE, compare_exactly, small_trainer, train_jointly

from yoso_ros.data.synthetic.dataset import Synthesis, write_dataset
from yoso_ros.errors import InputError
from yoso_ros.training.batches import ShareOfBatches

PROGRAM = Path(__file__).with_name("small_training.py")
CONFIG = Path(__file__).parents[2] / "config"


def run_processes(arguments, world_size):
    """Run a Python program as torchrun would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        **os.environ,
        "PYTHONPATH": str(PROGRAM.parents[2]),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(world_size),
        "OMP_NUM_THREADS": "1",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, *arguments],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world_size)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 0, errors[-2000:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.fixture
def exact(monkeypatch):
    """Float64 and the same sampled points in this process, as in the program's."""
    compare_exactly(monkeypatch.setattr)
    yield
    torch.set_default_dtype(torch.float32)


def assert_same_training(found, expected):
    for step, (a, b) in enumerate(zip(found[0], expected[0], strict=True)):
        assert a == pytest.approx(b, rel=1e-8), step
    for name, values in (("gradient", 1), ("weight", 2)):
        assert found[values].keys() == expected[values].keys()
        for key, value in expected[values].items():
            torch.testing.assert_close(
                found[values][key], value, rtol=1e-6, atol=1e-8, msg=lambda m, n=f"{name} {key}": f"{n}: {m}"
            )


def test_two_processes_train_like_one(tmp_path, exact):
    run_processes([PROGRAM, tmp_path], 2)
    assert_same_training(torch.load(tmp_path / "result.pt", weights_only=True), train_jointly(tmp_path))


def test_two_processes_validate_like_one(tmp_path):
    for split, count in (("train", 2), ("val", 3)):
        write_dataset(tmp_path / "data", Synthesis(count=count, width=96, height=64, split=split))
    recipe = {**yaml.safe_load((CONFIG / "training/synthetic_mobilenetv2.yaml").read_text()), "batch_size": 2}
    recipe |= {"iterations": 1, "learning_rate": 1e-12, "warmup_iterations": 0, "ema_decay": None}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    shipped = next((CONFIG.parent / "yoso_ros/checkpoints").glob("yoso_*synthetic*"))
    for world_size in (1, 2):
        command = ["-m", "yoso_ros", "train", tmp_path / "recipe.yaml", "--data", tmp_path / "data", "--device", "cpu"]
        run_processes([*command, "--weights", shipped, "--output", tmp_path / f"out{world_size}"], world_size)
    one, two = (json.loads((tmp_path / f"out{n}/history.json").read_text()) for n in (1, 2))
    assert one[0]["PQ"] > 0 and len(one) == 1
    assert two == [pytest.approx(one[0], rel=1e-6, nan_ok=True)]


def test_passes_that_accumulate_train_like_one(tmp_path, exact):
    expected = train_jointly(tmp_path, batch_statistics=False)
    assert_same_training(train_jointly(tmp_path, accumulation=4, batch_statistics=False), expected)


def test_shares_make_up_the_batches():
    # Two steps of six images in two passes over three processes, after one step of the run was done.
    shares = [list(ShareOfBatches(6, 18, 1, rank, 3)) for rank in range(3)]
    assert all(len(ShareOfBatches(6, 18, 1, rank, 3)) == 4 for rank in range(3))
    assert np.concatenate(shares, axis=1).tolist() == [[6, 7, 8], [9, 10, 11], [12, 13, 14], [15, 16, 17]]


def test_a_batch_that_cannot_be_shared_out_is_refused(tmp_path):
    import dataclasses

    with pytest.raises(InputError, match="batch_size 2 cannot be shared out over 1 processes in 3 passes"):
        small_trainer(tmp_path, dataclasses.replace(RECIPE, accumulation=3))
