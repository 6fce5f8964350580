# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros evaluate-bag` on a list: one or two processes, whole or interrupted, with one report over all."""

import json

import numpy as np
import pytest
import torch
from two_processes import run_two

from yoso_ros.bags.from_dataset import write_dataset_bag
from yoso_ros.cli import main
from yoso_ros.data import open_dataset
from yoso_ros.data.synthetic.dataset import Synthesis, write_dataset
from yoso_ros.evaluation.pages.many import markdown
from yoso_ros.evaluation.recordings.frame_counts import read_frame_counts
from yoso_ros.evaluation.recordings.many import join_reports

MODEL = ["--model", "yoso_mobilenetv2_synthetic", "--engine", "torch", "--device", "cpu", "--pictures", "1"]


def numbers(path):
    content = json.loads((path / "report.json").read_text())
    rows = [{k: v for k, v in row.items() if not k.endswith("_ms")} for row in content["recordings"]]
    return rows, content["measures"], content["per_class"]


def test_a_list_is_shared_out_and_goes_on_after_an_interruption(tmp_path, capsys):
    for number, count in ((0, 2), (1, 1)):
        size = {"width": 96, "height": 64, "split": "val", "seed": number, "frames_per_scene": 5}
        write_dataset(tmp_path / f"d{number}", Synthesis(count=count, **size))
        write_dataset_bag(open_dataset(tmp_path / f"d{number}", "val"), tmp_path / f"bag{number}")
    (tmp_path / "bad.mcap").write_bytes(b"no recording")
    bags = [str(tmp_path / name) for name in ("bag0", "bad.mcap", "bag1")]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the processes: sums in another order can move a pixel
    try:
        printed = run_two(["evaluate-bag", *bags, *MODEL, "--output", str(tmp_path / "all")])
        assert "2 of 3 recordings" in printed[0] and "2 of 3" not in printed[1]
        rows, measures, classes = numbers(tmp_path / "all")
        assert [(r["name"], r["frames"]) for r in rows] == [("bag0", 2), ("bag1", 1)]
        # What is joined is what an evaluation of all the frames would have counted.
        parts = [read_frame_counts(tmp_path / "all" / name) for name in ("bag0", "bag1")]
        iou, tp, fp, fn = np.moveaxis(sum(p.panoptic.sum(0) for p in parts), -1, 0)
        with np.errstate(invalid="ignore"):
            pq = 100 * iou / (tp + (fp + fn) / 2)
        assert measures["PQ"] == pytest.approx(np.nanmean(pq)) and len(classes) == 6
        page = (tmp_path / "all/report.html").read_text()
        assert "bag0/report.html" in page and "bad.mcap" in page and (tmp_path / "all/bag1/report.html").is_file()

        # As if the first recording were done and the second not: the first is not touched again.
        part = next((tmp_path / "all/parts").glob("bag0-*"))
        before = part.stat().st_mtime_ns
        next((tmp_path / "all/parts").glob("bag1-*")).unlink()
        assert main(["evaluate-bag", *bags, *MODEL, "--output", str(tmp_path / "all")]) == 0
        assert part.stat().st_mtime_ns == before and numbers(tmp_path / "all") == (rows, measures, classes)
    finally:
        torch.set_num_threads(threads)
    # The runs can be compared as those of one recording.
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "all"), str(tmp_path / "all"), "--output", str(tmp_path / "same")]) == 0
    assert main(["evaluate-bag", *bags, "--live", "--output", str(tmp_path / "no")]) == 2
    assert "--live: expected one recording" in capsys.readouterr().err


def test_what_json_has_as_null_is_a_number_that_does_not_exist():
    report = {
        "bag": "b",
        "frames": {"evaluated": 1, "undecodable": 0},
        "latency_ms": {"total": {"p50": 1.0, "p95": 2.0}},
    }
    report["stability"] = {"class_change_percent": None, "flicker_percent": None, "unlabelled_percent": 0.0}
    report["stability"]["confidence_percent"] = 50.0
    joint, together = join_reports({"b": report}, {})
    assert together is None and np.isnan(joint["recordings"][0]["flicker_percent"])
    text = markdown({**joint, "command": "x", "faults": []})
    assert "| b | 1 | - | - | - | - | - | 0.0 | 50.0 | 1.0 | 2.0 |" in text
