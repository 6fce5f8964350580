# SPDX-License-Identifier: Apache-2.0
"""The network that docs/adding_a_network.md builds, with outputs of its own kind, through everything the package does.

The code is taken from the page as it stands there. What a few steps of training give is compared with itself only.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import yoso_ros
from yoso_ros.cli import main
from yoso_ros.errors import InputError
from yoso_ros.results import UNLABELLED_ID

PAGE = Path(__file__).resolve().parents[2] / "docs/adding_a_network.md"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The current folder of the page's reader: its files, the data set, the trained weights in out/."""
    folder = tmp_path_factory.mktemp("reader")
    text = PAGE.read_text()
    (folder / "center_network.py").write_text("\n\n".join(re.findall(r"```python\n(.*?)```", text, re.S)))
    for name, content in re.findall(r"`(\w+\.yaml)`[^`]*?(?:`[^`]*`[^`]*?)*:\n\n```yaml\n(.*?)```", text, re.S):
        (folder / name).write_text(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        patch.setenv("YOSO_CACHE", str(folder / "cache"))
        patch.setenv("YOSO_NO_PROGRESS", "1")
        for command in re.findall(r"^yoso-ros (synthesize|train) (.*)$", text, re.M):
            assert main([command[0], *command[1].split()]) == 0
        yield folder
    sys.modules.pop("center_network", None)


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "center.safetensors")


def pictures():
    from yoso_ros.data import open_dataset

    dataset = open_dataset("data", "val")
    return [dataset[index].image for index in range(len(dataset))]


def test_resumed_training_ends_with_the_same_weights(here, monkeypatch):
    from yoso_ros.training.trainer import Trainer

    command = ["train", "center_training.yaml", "--data", "data", "--output", "again", "--save-every", "5"]
    step = Trainer.step

    def interrupted(trainer, batches):
        if trainer.iteration == 7:
            raise KeyboardInterrupt
        return step(trainer, batches)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", interrupted)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            main(command)
            raise SystemExit
    assert main([*command, "--resume"]) == 0
    first, resumed = weights(here / "out"), weights(here / "again")
    assert first.keys() == resumed.keys() and all(torch.equal(first[key], resumed[key]) for key in first)


@pytest.mark.parametrize(
    ("engine", "precision", "share"),
    [("onnxruntime", "fp32", 2e-3), ("openvino", "fp32", 2e-3), ("openvino", "bf16", 0.2), ("torch", "bf16", 0.2)],
)
def test_every_engine_agrees_with_torch(here, engine, precision, share):
    pytest.importorskip(engine, reason=f"needs {engine}")
    load = {"model": "center.yaml", "weights": "out/center.safetensors", "device": "cpu"}
    expected = yoso_ros.load_segmenter(**load, engine="torch", precision="fp32")
    actual = yoso_ros.load_segmenter(**load, engine=engine, precision=precision)
    assert actual.backend == f"{engine}-cpu-{precision}"
    images = torch.from_numpy(pictures()[0]).permute(2, 0, 1)[None].float()
    raw = actual.engine(images)
    assert type(raw).__name__ == "CenterOutputs" and raw.center_map_logits.shape == (1, 1, 12, 16)
    for found, wanted in zip(raw, expected.engine(images), strict=True):
        assert found.dtype == torch.float32 and found.shape == wanted.shape
        assert (found - wanted).abs().max() < (1e-3 if precision == "fp32" else 0.1) * wanted.abs().max()
    results = [segmenter(pictures()[0]) for segmenter in (expected, actual)]
    # Which of two faint peaks is a centre is not compared: a rounding decides it.
    assert (results[0].semantic != results[1].semantic).mean() < share


def test_export_and_evaluation(here, capsys):
    pytest.importorskip("onnxscript", reason="export needs onnxscript")
    model = ["--model", "center.yaml", "--weights", "out/center.safetensors"]
    assert main(["export", *model, "--output", "out/center.onnx", "--size", "96x128"]) == 0
    assert re.search(r"class_map_logits \S+, center_map_logits \S+", capsys.readouterr().out)
    on_cpu = ["--engine", "torch", "--device", "cpu"]
    command = ["evaluate", *model, *on_cpu, "--data", "data", "--tasks", "panoptic,instance,semantic"]
    assert main([*command, "--output", "out/evaluate"]) == 0
    assert main(["bag", "from-dataset", "--data", "data", "--output", "out/bag"]) == 0
    assert main(["evaluate-bag", "out/bag", *model, *on_cpu, "--output", "out/replay"]) == 0
    on_data, on_bag = (json.loads(Path(f"out/{name}/report.json").read_text()) for name in ("evaluate", "replay"))
    assert on_data["panoptic_quality"] == on_bag["panoptic_quality"] and on_data["panoptic_quality"]["All"]["N"] > 0
    assert "average_precision" in on_data and on_data["semantic_mean_iou"] > 0


def test_node_publishes_what_the_segmenter_finds(here, ros_domain, start_process, monkeypatch):
    pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")
    from node_probe import Probe, pixels_of

    monkeypatch.setenv("PYTHONPATH", f"{here}:{Path(yoso_ros.__file__).parents[1]}")
    parameters = {"model": "center.yaml", "weights": "out/center.safetensors", "engine": "torch", "device": "cpu"}
    arguments = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    node = [sys.executable, "-m", "yoso_ros.ros.node", "--ros-args", *arguments, "-r", "image_raw:=/cam/image_raw"]
    process = start_process(node)
    probe = Probe()
    try:
        probe.connect()
        picture = pictures()[0]
        probe.images.publish(probe.message(picture, 5))
        answer = probe.answers(5)
    finally:
        probe.close()
        process.stop()
    segmenter = yoso_ros.load_segmenter(**parameters)
    expected = segmenter(picture)
    assert (expected.panoptic != UNLABELLED_ID).all() and len(expected.segments) > 1
    np.testing.assert_array_equal(pixels_of(answer["panoptic/image_raw"]), expected.panoptic)
    assert {s.id for s in answer["panoptic/segments"].segments} == {s.id for s in expected.segments}


def test_faults_of_a_module_are_named(here, tmp_path):
    from yoso_ros.checkpoint import read_metadata
    from yoso_ros.models import load_config

    (tmp_path / "mine.yaml").write_text("architecture: no.such_module\nlabel_set: synthetic\n")
    with pytest.raises(InputError, match="no.such_module cannot be imported.*PYTHONPATH"):
        load_config(tmp_path / "mine.yaml")
    (tmp_path / "mine.yaml").write_text("architecture: json.decoder\nlabel_set: synthetic\n")
    with pytest.raises(InputError, match="json.decoder defines no ARCHITECTURE"):
        load_config(tmp_path / "mine.yaml")
    # A checkpoint may not have a module imported; once the user's own file has, it may be read.
    module = sys.modules.pop("center_network")
    with pytest.raises(InputError, match="'center_network' is not one of this package"):
        read_metadata("out/center.safetensors")
    assert "center_network" not in sys.modules
    sys.modules["center_network"] = module
    assert read_metadata("out/center.safetensors")[0].head_channels == 32
