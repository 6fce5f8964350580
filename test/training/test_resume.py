# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros train` killed in the middle and resumed ends with the weights of an uninterrupted run, bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from patience import PATIENCE_S
from safetensors.torch import load_file

from yoso_ros.cli import main
from yoso_ros.data.samples import rgb_from_ids
from yoso_ros.label_sets import load_label_set

ROOT = Path(__file__).resolve().parents[2]
ITERATIONS = 14
MODEL = {
    "architecture": "yoso", "label_set": "camvid", "backbone": "mobilenet_v2", "pyramid_channels": [8, 8, 8, 8],
    "aggregator_channels": 8, "hidden_dim": 16, "ffn_dim": 16, "num_proposals": 6, "score_threshold": 0.0,
    "shortest_edge": 64, "longest_edge": 64,
}  # fmt: skip
RECIPE = {
    "augmentation": {"crop_height": 64, "crop_width": 64, "scale_min": 0.5},
    "criterion": {"num_points": 256},
    "iterations": ITERATIONS,
    "batch_size": 2,
    "accumulation": 2,
    "learning_rate": 0.001,
    "ema_decay": 0.9,
    "validate_every": 5,
}


@pytest.fixture
def work(tmp_path):
    """A folder with a data set of three images, a model and a recipe."""
    label_set = load_label_set("camvid")
    for split in ("train", "val"):
        content = {"images": [], "annotations": [], "categories": label_set.coco_categories()}
        (tmp_path / f"data/images/{split}").mkdir(parents=True)
        (tmp_path / f"data/panoptic_{split}").mkdir()
        for index in range(3):
            ids = np.full((64, 64), 7, np.int32)
            ids[8 * index : 8 * index + 24, 16:48] = 9
            image = np.random.default_rng(index).integers(0, 60, (64, 64, 3)) + 120 * (ids[..., None] == 9)
            cv2.imwrite(str(tmp_path / f"data/images/{split}/{index}.png"), image)
            cv2.imwrite(str(tmp_path / f"data/panoptic_{split}/{index}.png"), rgb_from_ids(ids)[..., ::-1])
            segments = [
                {"id": i, "category_id": label_set.classes[c].dataset_id, "iscrowd": 0, "area": int((ids == i).sum()),
                 "bbox": [0, 0, 64, 64]}
                for i, c in ((7, 0), (9, label_set.thing_ids[0]))
            ]  # fmt: skip
            content["images"].append({"id": index, "file_name": f"{index}.png"})
            content["annotations"].append({"image_id": index, "file_name": f"{index}.png", "segments_info": segments})
        (tmp_path / f"data/panoptic_{split}.json").write_text(json.dumps(content))
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(MODEL))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"model": str(tmp_path / "small.yaml"), **RECIPE}))
    return tmp_path


def command(work, output, *more):
    options = [str(work / "recipe.yaml"), "--data", str(work / "data"), "--output", str(work / output)]
    return ["train", *options, "--device", "cpu", "--save-every", "2", *more]


def start(arguments):
    environment = {**os.environ, "YOSO_NO_PROGRESS": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "yoso_ros", *arguments], env=environment, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors[-2000:]


def test_killed_and_resumed_equals_uninterrupted(work):
    processes = [start(command(work, "whole")), start(command(work, "killed"))]
    try:
        whole, killed = processes
        state, deadline = work / "killed/state.pt", time.monotonic() + PATIENCE_S
        while not state.is_file() and killed.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(killed.pid, signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL
        reached = torch.load(state, weights_only=True)["iteration"]
        assert 0 < reached < ITERATIONS
        processes.append(start(command(work, "killed", "--resume")))
        finish(processes[-1])
        finish(whole)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    states = [torch.load(work / f"{name}/state.pt", weights_only=True) for name in ("whole", "killed")]
    assert states[0]["iteration"] == states[1]["iteration"] == ITERATIONS
    for part in ("model", "average"):
        for key, value in states[0][part].items():
            assert torch.equal(value, states[1][part][key]), key
    histories = [json.loads((work / f"{name}/history.json").read_text()) for name in ("whole", "killed")]
    assert [h["iteration"] for h in histories[1]] == [5, 10, ITERATIONS]
    assert str(histories[0]) == str(histories[1])  # as text, because NaN is not equal to itself
    best = [load_file(work / f"{name}/small.safetensors") for name in ("whole", "killed")]
    assert best[0].keys() == best[1].keys()
    for key, value in best[0].items():
        assert torch.equal(value, best[1][key]), key


def test_tensorboard_and_bad_options(work, capsys, monkeypatch):
    monkeypatch.setenv("YOSO_NO_PROGRESS", "1")
    pytest.importorskip("tensorboard")
    assert main(command(work, "out", "--iterations", "1", "--accumulation", "1", "--tensorboard")) == 0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(work / "out/tensorboard"))
    events.Reload()
    scalars = {tag: events.Scalars(tag)[0].value for tag in events.Tags()["scalars"]}
    losses = [value for tag, value in scalars.items() if tag.startswith("losses/") and tag != "losses/total"]
    assert sum(losses) == pytest.approx(scalars["losses/total"], rel=1e-5) and len(losses) == 8
    assert scalars["learning_rate"] == pytest.approx(0.001)
    assert {"validation/PQ", "validation/mIoU"} <= scalars.keys()
    capsys.readouterr()
    for more, message in (
        (("--precision", "fp16"), "precision fp16 needs a CUDA device"),
        (("--accumulation", "3"), "batch_size 2 cannot be shared out"),
        (("--iterations", "0"), "iterations: expected at least 1, found 0"),
        (("--save-every", "0"), "--save-every: expected at least 1"),
        (("--resume",), "nothing to resume: expected"),
        (("--device", "tpu"), "--device: expected auto, cpu, cuda or cuda:N, found 'tpu'"),
    ):
        assert main(command(work, "bad", *more)) == 2
        assert message in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # as if it were not installed
    assert main(command(work, "bad", "--tensorboard")) == 2
    assert "needs the package tensorboard" in capsys.readouterr().err
    assert main(["train", "--data", str(work)]) == 2
    assert "missing: recipe, output" in capsys.readouterr().err
