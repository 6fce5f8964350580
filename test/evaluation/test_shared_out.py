# SPDX-License-Identifier: Apache-2.0
"""An evaluation shared out among two processes gives the numbers of one: PQ, mIoU and AP, per class and per image."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from yoso_ros.cli import main
from yoso_ros.data.synthetic.dataset import Synthesis, write_dataset
from yoso_ros.evaluation.recordings.frame_counts import read_frame_counts

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 50


def run_two(command):
    """Run a `yoso-ros` command as torchrun would, in two processes; returns what each printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "PYTHONPATH": str(ROOT), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common |= {"WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "yoso_ros", *command],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    printed = []
    try:
        for process in processes:
            output, errors = process.communicate(timeout=SECONDS)
            assert process.returncode == 0, errors[-2000:]
            printed.append(output)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return printed


def numbers(value, place=""):
    """Every number of a report by its place, without times: dict."""
    if isinstance(value, dict):
        pairs = ((f"{place}/{key}", inner) for key, inner in value.items() if key != "timings_ms")
    elif isinstance(value, list):
        pairs = ((f"{place}/{index}", inner) for index, inner in enumerate(value))
    else:
        return {place: value}
    return {name: number for inner_place, inner in pairs for name, number in numbers(inner, inner_place).items()}


def test_two_processes_give_the_numbers_of_one(tmp_path):
    # An odd number of images, so that the shares differ.
    write_dataset(tmp_path / "data", Synthesis(count=5, width=128, height=96, split="val", seed=3, frames_per_scene=1))
    command = ["evaluate", "--data", str(tmp_path / "data"), "--model", "yoso_mobilenetv2_synthetic", "--device", "cpu"]
    command += [
        "--engine",
        "torch",
        "--tasks",
        "panoptic,instance,semantic",
        "--shortest-edge",
        "96",
        "--pictures",
        "0",
    ]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the processes: sums in another order can move a pixel
    try:
        assert main([*command, "--output", str(tmp_path / "one")]) == 0
    finally:
        torch.set_num_threads(threads)
    first, second = run_two([*command, "--output", str(tmp_path / "two")])
    assert "| All |" in first and second == ""
    one, two = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("one", "two"))
    assert 0 < one["average_precision"]["AP"] < 100 and 0 < one["panoptic_quality"]["All"]["PQ"] < 100
    assert [row["index"] for row in two["per_image"]] == [0, 1, 2, 3, 4] and two["images"] == 5
    expected, found = numbers(one), numbers(two)
    assert expected.keys() == found.keys() and len(expected) > 100
    for place, value in expected.items():
        same = pytest.approx(value, abs=1e-9) if isinstance(value, float) else value
        assert found[place] == same, place
    counts = [read_frame_counts(tmp_path / name) for name in ("one", "two")]
    assert (
        sorted(counts[0].names)
        == sorted(counts[1].names)
        == sorted(Path(r["file_name"]).name for r in one["per_image"])
    )
    assert main(["compare", str(tmp_path / "one"), str(tmp_path / "two"), "--output", str(tmp_path / "same")]) == 0
    comparison = json.loads((tmp_path / "same/comparison.json").read_text())
    assert comparison["frames"] == {"common": 5, "only_a": 0, "only_b": 0}
    for name, group in (("PQ", "All"), ("PQ_stuff", "Stuff")):
        assert comparison["measures"][name]["a"] == pytest.approx(one["panoptic_quality"][group]["PQ"])
    assert comparison["measures"]["PQ"]["interval"] == pytest.approx([0, 0], abs=1e-9)
    assert two["timings_ms"].keys() == one["timings_ms"].keys() and all(t > 0 for t in two["timings_ms"].values())
