# SPDX-License-Identifier: Apache-2.0
"""An evaluation shared out among two processes gives the numbers of one: PQ, mIoU and AP, per class and per image."""

import json
from pathlib import Path

import pytest
import torch
from two_processes import run_two

from yoso_ros.cli import main
from yoso_ros.data.synthetic.dataset import Synthesis, write_dataset
from yoso_ros.evaluation.recordings.frame_counts import read_frame_counts


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
