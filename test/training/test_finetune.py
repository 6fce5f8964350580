# SPDX-License-Identifier: Apache-2.0
"""Small own data: from a checkpoint with other classes, several data sets, patience, and logs of experiments."""

import dataclasses
import json
import sys
from types import SimpleNamespace

import pytest
import torch
import yaml
from small_training import MODEL, RECIPE, small_trainer

from yoso_ros.checkpoint import read_metadata, save_checkpoint
from yoso_ros.cli import main
from yoso_ros.data.synthetic.dataset import Synthesis, write_dataset
from yoso_ros.errors import InputError
from yoso_ros.inference import load_segmenter
from yoso_ros.label_sets import LabelClass, LabelSet
from yoso_ros.models import create_model, load_config
from yoso_ros.training.config import load_recipe
from yoso_ros.training.other_classes import load_with_other_classes, with_classes

OWN = LabelSet(
    name="own",
    source="here",
    classes=tuple(
        LabelClass(name=name, is_thing=thing, dataset_id=i, color=(i, i, i))
        for i, (name, thing) in enumerate([("car", True), ("forklift", True), ("road", False)], start=1)
    ),
)


def checkpoint(path, config=MODEL):
    model = create_model(config)
    save_checkpoint(path, model.state_dict(), config, {})
    return model.state_dict()


def test_all_weights_but_those_of_other_classes_are_taken_over(tmp_path):
    old = checkpoint(tmp_path / "old.safetensors")
    config = with_classes(MODEL, OWN)
    model = create_model(config)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    shared, fresh = load_with_other_classes(model, tmp_path / "old.safetensors")
    assert shared == ["car", "road"] and fresh == []
    names = [c.name for c in MODEL.label_set.classes]
    predictors = [k for k in before if "class_predictor" in k]
    assert predictors
    for key, value in model.state_dict().items():
        if key in predictors:
            assert (value[0] == old[key][names.index("car")]).all() and (
                value[2] == old[key][names.index("road")]
            ).all()
            assert (value[3] == old[key][-1]).all() and (value[1] == before[key][1]).all()
        else:
            assert torch.equal(value, old[key])


def test_classes_in_another_order_are_found_by_name(tmp_path):
    old = checkpoint(tmp_path / "old.safetensors")
    turned = dataclasses.replace(MODEL.label_set, classes=MODEL.label_set.classes[::-1])
    model = create_model(with_classes(MODEL, turned))
    load_with_other_classes(model, tmp_path / "old.safetensors")
    (key, *_) = [k for k in old if k.endswith("class_predictor.weight")]
    assert torch.equal(model.state_dict()[key][:-1], old[key][:-1].flip(0))
    with pytest.raises(InputError, match="does not fit|no weight"):
        load_with_other_classes(create_model(load_config("realtimepan_r50_cityscapes")), tmp_path / "old.safetensors")


def test_patience_ends_a_run_and_the_best_is_kept(tmp_path):
    recipe = dataclasses.replace(RECIPE, iterations=12, validate_every=1, patience=2)
    values, best = iter([10.0, 30.0, 20.0, 30.0, 99.0, 99.0]), []
    trainer = small_trainer(
        tmp_path, recipe, validate=lambda model: {"PQ": next(values)}, on_best=lambda m, metrics, i: best.append(i)
    )
    history = trainer.run(progress=False)
    assert [m["PQ"] for m in history] == [10.0, 30.0, 20.0, 30.0] and best == [1, 2]
    # Resumed, it is as much at its end as it was.
    again = small_trainer(tmp_path, recipe, validate=lambda model: {"PQ": 99.0})
    again.load_state()
    assert again.run(progress=False) == history
    patient = small_trainer(
        tmp_path, dataclasses.replace(recipe, patience=0, iterations=5), validate=lambda m: {"PQ": 1.0}
    )
    assert len(patient.run(progress=False)) == 5


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
    checkpoint(tmp_path / "old.safetensors", dataclasses.replace(MODEL, shortest_edge=64, longest_edge=96))
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
    assert "classes none" in capsys.readouterr().out
    name = f"{MODEL.name}_own"
    config, story = read_metadata(output / f"{name}.safetensors")
    assert [c.name for c in config.label_set.classes] == ["floor", "wall", "sky", "box", "cylinder", "person"]
    assert story["recipe"]["classes"] == "data" and config.pyramid_channels == MODEL.pyramid_channels
    segmenter = load_segmenter(
        output / f"{name}.yaml", output / f"{name}.safetensors", device="cpu", engine="torch", score_threshold=0.0
    )
    assert segmenter.label_set.classes == config.label_set.classes
    assert [step for step, _ in wandb.logged] == [1, 2, 4] and wandb.finished
    assert "validation/PQ" in wandb.logged[1][1] and "losses/total" in wandb.logged[0][1]
    assert [step for step, _ in mlflow.logged] == [1, 2, 4] and mlflow.ended and mlflow.params["iterations"] == "4"
    assert len(json.loads((output / "history.json").read_text())) == 2

    # And from there on, with the classes as they are: everything is taken over.
    more = ["--weights", str(output / f"{name}.safetensors"), "--iterations", "1", "--output", str(tmp_path / "two")]
    assert main([*command, *more]) == 0
    assert "classes floor, wall, sky, box, cylinder, person; fresh: 0 tensors" in capsys.readouterr().out
    assert (tmp_path / f"two/{name}.safetensors").is_file()


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
