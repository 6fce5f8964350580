# SPDX-License-Identifier: Apache-2.0
"""The joints of `yoso-ros loop-demo`: its commands, the correction by the truth, and its page."""

import argparse
from pathlib import Path

import numpy as np

from yoso_ros.cli import build_parser, loop_demo, main
from yoso_ros.data import open_dataset
from yoso_ros.data.coco_panoptic_writer import CocoPanopticWriter, panoptic_png
from yoso_ros.data.synthetic.dataset import Synthesis, write_dataset
from yoso_ros.evaluation.pages.loop import html_page
from yoso_ros.labelling.correction import Corrected
from yoso_ros.training.config import load_recipe


def test_every_step_is_commands_that_exist(tmp_path):
    options = argparse.Namespace(drives=3, count=5, iterations=7, device="cpu")
    steps = list(loop_demo._steps(Path("out"), options, {}))
    commands = [command for _, _, work in steps if isinstance(work, list) for command in work]
    parsed = [build_parser(command[0]).parse_args(command) for command in commands]
    (train,) = [a for a in parsed if a.command == "train" and a.recipe]
    assert train.iterations == 7 and train.data == "out/own" and load_recipe(train.recipe).classes == "data"
    # What is proved on is not looked at by any step between the two measurements.
    between = commands[commands.index(next(c for c in commands if c[0] == "bag")) : commands.index(
        next(c for c in commands if c[0] == "evaluate-bag" and "out/after" in c)
    )]  # fmt: skip
    assert "out/monday" in sum(between, []) and "out/wednesday" not in sum(between, [])
    (tmp_path / "file").write_text("")
    assert main(["loop-demo", "--output", str(tmp_path)]) == 2


def test_the_truth_of_the_frame_stands_for_the_person(tmp_path):
    write_dataset(tmp_path / "world", Synthesis(count=3, width=64, height=48, split="monday", frames_per_scene=1))
    truth = open_dataset(tmp_path / "world", "monday")
    writer = CocoPanopticWriter(tmp_path / "pre", "train", truth.label_set)
    sample = truth[2]
    # The pre-label gives half of the picture the class of a box, and nothing to the rest.
    ids = np.zeros((48, 64), np.int32)
    ids[:, :32] = 9
    category = truth.label_set.classes[3].dataset_id
    segments = [{"id": 9, "category_id": category, "iscrowd": 0, "area": 1536, "bbox": [0, 0, 32, 48]}]
    writer.add("monday_000002.jpg", Path(sample.file_name).read_bytes(), panoptic_png(ids), ids.shape, segments)
    writer.finish({})
    corrected = Corrected(open_dataset(tmp_path / "pre", "train"), truth)
    assert len(corrected) == 1 and (corrected[0].ids == sample.ids).all()
    assert corrected[0].segments == sample.segments and corrected[0].file_name.endswith("monday_000002.jpg")
    boxes = np.isin(sample.ids, [s["id"] for s in sample.segments if s["category_id"] == segments[0]["category_id"]])
    assert corrected.share_to_change() == 1 - boxes[:, :32].sum() / boxes.size


def test_page_shows_what_json_has_as_null():
    measure = {"a": 50.0, "b": 61.5, "difference": 11.5, "interval": [9.0, 14.25], "a_wins": 0.0, "b_wins": 1.0}
    wins = {"a_wins": None, "b_wins": None}
    nothing = loop_demo._with_nan({"a": None, "b": None, "difference": None, "interval": [None, None]} | wins)
    world = {"verdict": "B is better <b>", "measures": {"PQ": measure, "PQ things": nothing}}
    step = {"title": "Train", "why": "because", "commands": ["yoso-ros train"], "seconds": 60.0, "processor_s": 90.0}
    corrected = {"train": {"frames": 7, "pixels_changed": 0.1}}
    loop = {"steps": [step], "corrected": corrected, "history": [{"iteration": 3, "PQ": 40.0}]}
    html = html_page(loop | {"new": world, "old": world}, [("frame", {"truth": b"jpeg"})])
    assert "+9.00 to +14.25" in html and "nan" not in html and "<b>61.5</b>" in html and "B is better &lt;b&gt;" in html
    assert "60 s, 90 s of processor time" in html and "<code>yoso-ros train</code>" in html
