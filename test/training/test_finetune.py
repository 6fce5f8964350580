# SPDX-License-Identifier: Apache-2.0
"""Small own data: from a checkpoint with other classes, several data sets, patience, and logs of experiments."""

import dataclasses
import json
import sys
from types import SimpleNamespace

import pytest
import yaml
from small_training import MODEL, RECIPE, small_trainer

from yoso_ros.checkpoint import read_metadata, save_checkpoint
from yoso_ros.cli import main
from yoso_ros.data.synthetic.dataset import Synthesis, write_dataset
from yoso_ros.inference import load_segmenter
from yoso_ros.models import create_model
from yoso_ros.training.config import load_recipe
from yoso_ros.training.trainer import Trainer


def test_patience_ends_a_run_and_the_best_is_kept(tmp_path, monkeypatch):
    def step(trainer, batches):
        trainer.iteration += 1
        return {"total": 0.0}

    monkeypatch.setattr(Trainer, "step", step)
    recipe = dataclasses.replace(RECIPE, iterations=6, validate_every=1, patience=2)
    values, best = iter([10.0, 30.0, 20.0, 30.0, 99.0, 99.0]), []
    monkeypatch.setattr(Trainer, "save_state", lambda trainer: None)
    trainer = small_trainer(
        tmp_path, recipe, validate=lambda model: {"PQ": next(values)}, on_best=lambda m, metrics, i: best.append(i)
    )
    history = trainer.run(progress=False)
    assert [m["PQ"] for m in history] == [10.0, 30.0, 20.0, 30.0] and best == [1, 2]


class FakeWandb:
    def __init__(self):
        self.logged, self.facts, self.finished = [], None, False

    def init(self, **facts):
        self.facts = facts
        return SimpleNamespace(log=lambda v, step: self.logged.append((step, v)), finish=self.finish)

    def finish(self):
        self.finished = True


class FakeMlflow:
    def __init__(self):
        self.logged, self.params, self.ended = [], {}, False

    def set_experiment(self, name):
        pass

    def start_run(self, run_name):
        self.name = run_name

    def log_params(self, params):
        self.params = params

    def log_metrics(self, values, step):
        self.logged.append((step, values))

    def end_run(self):
        self.ended = True


def test_finetune_trains_the_classes_of_the_data(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("YOSO_NO_PROGRESS", "1")
    for name, seed in (("own", 1), ("pre", 2)):
        for split, count in (("train", 3), ("val", 2)):
            size = {"width": 96, "height": 64, "split": split, "seed": seed, "frames_per_scene": 1}
            write_dataset(tmp_path / name, Synthesis(count=count, **size))
    start = dataclasses.replace(MODEL, shortest_edge=64, longest_edge=96)
    save_checkpoint(tmp_path / "old.safetensors", create_model(start).state_dict(), start, {})
    recipe = dataclasses.asdict(load_recipe("finetune"))
    recipe |= {"iterations": 4, "batch_size": 2, "validate_every": 2, "criterion": {"num_points": 64}}
    recipe["augmentation"] |= {
        "crop_height": 64,
        "crop_width": 96,
        "lighting": 0.5,
        "weather": 0.5,
        "camera_faults": 0.5,
    }
    recipe["augmentation"]["shortest_edges"] = []
    recipe["steps"] = []
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    wandb, mlflow = FakeWandb(), FakeMlflow()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    command = ["train", str(tmp_path / "recipe.yaml"), "--data", str(tmp_path / "own"), "--device", "cpu"]
    command += ["--more-data", f"{tmp_path / 'pre'}=0.5", "--weights", str(tmp_path / "old.safetensors")]
    output = tmp_path / "out"
    assert main([*command, "--output", str(output), "--wandb", "--mlflow"]) == 0
    assert "carried over by name: sky; fresh: floor, wall, box, cylinder, person" in capsys.readouterr().out
    name = f"{MODEL.name}_own"
    config, provenance = read_metadata(output / f"{name}.safetensors")
    assert [c.name for c in config.label_set.classes] == ["floor", "wall", "sky", "box", "cylinder", "person"]
    assert provenance["recipe"]["classes"] == "data" and config.pyramid_channels == MODEL.pyramid_channels
    segmenter = load_segmenter(
        output / f"{name}.yaml", output / f"{name}.safetensors", device="cpu", engine="torch", score_threshold=0.0
    )
    assert segmenter.label_set.classes == config.label_set.classes
    assert [step for step, _ in wandb.logged] == [1, 2, 4] and wandb.finished
    assert "validation/PQ" in wandb.logged[1][1] and "losses/total" in wandb.logged[0][1]
    assert [step for step, _ in mlflow.logged] == [1, 2, 4] and mlflow.ended and mlflow.params["iterations"] == "4"
    assert len(json.loads((output / "history.json").read_text())) == 2

    # And from there on, with the classes as they are: all weights are taken, and the name stays.
    more = ["--weights", str(output / f"{name}.safetensors"), "--iterations", "1", "--output", str(tmp_path / "two")]
    assert main([*command, *more]) == 0
    assert "carried over" not in capsys.readouterr().out
    assert read_metadata(tmp_path / f"two/{name}.safetensors")[0] == config


@pytest.mark.parametrize("option", ["wandb", "mlflow"])
def test_a_log_that_is_not_installed_is_one_line(option, tmp_path, monkeypatch, capsys):
    write_dataset(tmp_path, Synthesis(count=1, width=64, height=64, split="train"))
    write_dataset(tmp_path, Synthesis(count=1, width=64, height=64, split="val"))
    monkeypatch.setitem(sys.modules, option, None)
    command = ["train", "finetune", "--data", str(tmp_path), "--output", str(tmp_path / "out"), f"--{option}"]
    assert main([*command, "--device", "cpu"]) == 2
    assert f"--{option} needs the package {option}" in capsys.readouterr().err
    assert main([*command[:-1], "--more-data", f"{tmp_path}=often"]) == 2
    assert "--more-data: expected DATA or DATA=WEIGHT" in capsys.readouterr().err
