# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros bag select` on recordings: one process or two, whole or interrupted, the same frames are chosen."""

import json
import shutil

import cv2
import pytest
import torch
from two_processes import run_two

from yoso_ros.bags.from_dataset import write_dataset_bag
from yoso_ros.cli import main
from yoso_ros.data import open_dataset
from yoso_ros.data.synthetic.dataset import Synthesis, write_dataset

MODEL = ["--model", "yoso_mobilenetv2_synthetic", "--engine", "torch", "--device", "cpu"]


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    """Three short recordings, the second of which is broken."""
    folder = tmp_path_factory.mktemp("bags")
    for number in (0, 2):
        synthesis = Synthesis(count=5, width=96, height=64, split="val", seed=number, frames_per_scene=5)
        write_dataset(folder / f"data{number}", synthesis)
        write_dataset_bag(open_dataset(folder / f"data{number}", "val"), folder / f"bag{number}")
    (folder / "bag1.mcap").write_bytes(b"no recording")
    return folder


def select(bags, output, *more):
    names = [str(bags / name) for name in ("bag0", "bag1.mcap", "bag2")]
    return ["bag", "select", *names, "--count", "4", "--output", str(output), *MODEL, *more]


def chosen(output):
    content = json.loads((output / "selection.json").read_text())
    return [(c["file_name"], c["reasons"], round(c["difference_percent"], 3)) for c in content["chosen"]]


def test_two_processes_and_an_interrupted_run_choose_what_one_does(bags, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the processes: sums in another order can move a pixel
    try:
        assert main(select(bags, tmp_path / "one")) == 0
        first = chosen(tmp_path / "one")
        content = json.loads((tmp_path / "one/selection.json").read_text())
        assert content["frames"] == 10 and len(first) == 4
        assert len(content["faults"]) == 1 and "bag1.mcap" in content["faults"][0]
        for name, *_ in first:  # the stored pictures themselves
            recording, index = name.removesuffix(".jpg").split("_")
            picture = f"{int(index) // 5:05d}_{int(index) % 5:03d}.jpg"
            stored = bags / recording.replace("bag", "data") / "images/val" / picture
            assert (tmp_path / "one/images" / name).read_bytes() == stored.read_bytes()
        page = (tmp_path / "one/contact_sheet.html").read_text()
        assert page.count("<img") == 8 and all(name in page for name, *_ in first)

        # Interrupted after the first recording: its part is taken as it is, the other one is made.
        parts = sorted((tmp_path / "one/parts").iterdir())
        assert [p.name.split("-")[0] for p in parts] == ["bag0", "bag2"]
        (tmp_path / "again/parts").mkdir(parents=True)
        shutil.copy(parts[0], tmp_path / "again/parts")
        before = (tmp_path / "again/parts" / parts[0].name).stat().st_mtime_ns
        assert main(select(bags, tmp_path / "again")) == 0
        assert chosen(tmp_path / "again") == first
        assert (tmp_path / "again/parts" / parts[0].name).stat().st_mtime_ns == before
    finally:
        torch.set_num_threads(threads)
    printed = run_two(select(bags, tmp_path / "two"))
    assert chosen(tmp_path / "two") == first and printed[1] == ""


def test_other_settings_are_not_taken_from_an_earlier_run(bags, tmp_path):
    assert main(select(bags, tmp_path, "--every", "2")) == 0
    assert json.loads((tmp_path / "selection.json").read_text())["frames"] == 6
    labelled = tmp_path / "labelled"
    labelled.mkdir()
    for name, *_ in chosen(tmp_path):
        cv2.imwrite(str(labelled / name), cv2.imread(str(tmp_path / "images" / name)))
    taken = {name for name, *_ in chosen(tmp_path)}
    assert main(select(bags, tmp_path, "--labelled", str(labelled))) == 0
    assert json.loads((tmp_path / "selection.json").read_text())["frames"] == 10
    assert not taken & {name for name, *_ in chosen(tmp_path)}


def test_bad_options_are_one_line(bags, tmp_path, capsys):
    assert main(select(bags, tmp_path, "--count", "0")) == 2
    assert "--count: expected 1 or more, found 0" in capsys.readouterr().err
    assert main(["bag", "select", str(bags / "bag1.mcap"), "--output", str(tmp_path), *MODEL]) == 2
    assert "bag1.mcap" in capsys.readouterr().err and not (tmp_path / "selection.json").exists()
