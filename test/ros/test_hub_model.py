# SPDX-License-Identifier: Apache-2.0
"""A model of the hub through the commands and through the node over DDS, with nothing made for it.

A small checkpoint with random weights: that every way gives the same numbers is what is compared.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hub_checkpoints import write_checkpoint

import yoso_ros
from yoso_ros.cli import main
from yoso_ros.label_sets import load_label_set
from yoso_ros.results import UNLABELLED_ID

pytest.importorskip("transformers", reason="needs transformers (yoso-ros[hub])")

NAMES = [label.name for label in load_label_set("synthetic").classes]
FRAMES = 3


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder: a rendered data set with a recording of it, a cache; `here(family)` adds model.yaml."""
    from yoso_ros.data.synthetic.dataset import Synthesis, write_dataset

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("YOSO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("YOSO_NO_PROGRESS", "1")
    write_dataset("data", Synthesis(count=FRAMES, width=160, height=120, split="val"))

    def add(family):
        write_checkpoint(family, tmp_path / family, names=NAMES)
        # The classes of this set are known to the file of the user only, and random weights are unsure of all of them.
        thresholds = "score_threshold: 0.1\noverlap_threshold: 0.1\n"
        Path("model.yaml").write_text(
            f"architecture: hugging_face\nsource: {family}\nlabel_set: synthetic\n{thresholds}"
        )
        return tmp_path

    return add


def report(folder):
    return json.loads(Path(folder, "report.json").read_text())


# One with a graph for each size of frame and one without; every family in every engine is in test_hub_families.py.
@pytest.mark.parametrize("family", ["eomt", "mask2former"])
def test_every_command_takes_it(here, family, capsys):
    for package in ("openvino", "nncf"):
        pytest.importorskip(package, reason=f"needs {package}")
    here(family)
    model, torch = ["--model", "model.yaml", "--device", "cpu"], ["--engine", "torch"]
    int8 = ["--engine", "openvino", "--precision", "int8"]
    assert main(["quantize", *model[:2], "--calibration", "data/images/val", "--frames", "2"]) == 0
    assert main(["bag", "from-dataset", "--data", "data", "--output", "bag"]) == 0
    for name, engine in (("torch", torch), ("int8", int8)):
        assert main(["evaluate", *model, *engine, "--data", "data", "--output", f"on_data/{name}"]) == 0
        command = ["evaluate-bag", "bag", *model, *engine, "--save-labels", "--output", f"on_bag/{name}"]
        assert main(command) == 0
        data, bag = report(f"on_data/{name}"), report(f"on_bag/{name}")
        assert data["panoptic_quality"] == bag["panoptic_quality"] and data["panoptic_quality"]["All"]["N"] > 0
        assert data["backend"] == {"torch": "torch-cpu-fp32", "int8": "openvino-cpu-int8"}[name]
    capsys.readouterr()
    assert main(["compare", "on_bag/torch", "on_bag/int8", "--output", "comparison", "--resamples", "20"]) == 0
    found = json.loads(Path("comparison/comparison.json").read_text())
    assert found["frames"] == {"common": FRAMES, "only_a": 0, "only_b": 0}
    picture = next(Path("data/images/val").iterdir())
    assert main(["segment", str(picture), *model, *torch, "--output", "segmented"]) == 0
    assert re.search(r"1 of 1 images with torch-cpu-fp32", capsys.readouterr().out)
    assert json.loads((Path("segmented") / f"{picture.stem}_segments.json").read_text()), "something is painted"


@pytest.mark.ros
def test_the_node_publishes_what_the_segmenter_finds(here, ros_domain, start_process):
    pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")
    from node_probe import Probe, pixels_of

    from yoso_ros.images.encoded import read_image

    folder = here("eomt")
    parameters = {"model": str(folder / "model.yaml"), "engine": "torch", "device": "cpu"}
    arguments = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    node = [sys.executable, "-m", "yoso_ros.ros.node", "--ros-args", *arguments, "-r", "image_raw:=/cam/image_raw"]
    picture = read_image(next(Path("data/images/val").iterdir()))
    process = start_process(node)
    probe = Probe()
    try:
        probe.connect()
        probe.images.publish(probe.message(picture, 5))
        answer = probe.answers(5)
    finally:
        probe.close()
        process.stop()
    expected = yoso_ros.load_segmenter(**parameters)(picture)
    assert (expected.panoptic != UNLABELLED_ID).any() and expected.segments
    np.testing.assert_array_equal(pixels_of(answer["panoptic/image_raw"]), expected.panoptic)
    assert {s.id for s in answer["panoptic/segments"].segments} == {s.id for s in expected.segments}
