# SPDX-License-Identifier: Apache-2.0
"""The training loop: it learns, resumes to the same weights, keeps the paper's parameter groups, and stops on NaN."""

import dataclasses

import numpy as np
import pytest
import torch

from yoso_ros.data.samples import PanopticSample
from yoso_ros.errors import InputError
from yoso_ros.models import create_model, load_config
from yoso_ros.training.augment import Augmentation
from yoso_ros.training.config import AugmentationConfig, TrainingConfig
from yoso_ros.training.criterion import CriterionConfig
from yoso_ros.training.optim import create_optimizer, learning_rate_factor
from yoso_ros.training.batches import TrainingSet
from yoso_ros.training.trainer import Trainer, seed_everything

MODEL = dataclasses.replace(
    load_config("yoso_mobilenetv2_camvid"), pyramid_channels=(8, 8, 8, 8), aggregator_channels=8, hidden_dim=16, ffn_dim=16,
    num_proposals=6,
)  # fmt: skip
RECIPE = TrainingConfig(
    model="small",
    augmentation=AugmentationConfig(crop_height=64, crop_width=64, scale_min=0.9, scale_max=1.1),
    criterion=CriterionConfig(num_points=256),
    iterations=6,
    batch_size=2,
    learning_rate=2e-3,
    clip_norm=1.0,
    ema_decay=0.9,
    validate_every=2,
)


class Scenes:
    """Four images of a bright square (class 8) on a dark ground (class 3)."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        ids = np.ones((64, 64), np.int32)
        ids[8 * index : 8 * index + 24, 16:48] = 2
        image = np.where(ids[..., None] == 2, 230, 20).astype(np.uint8).repeat(3, axis=2)
        segments = [
            {"id": 1, "category_id": 3, "iscrowd": 0, "area": 0, "bbox": [0, 0, 1, 1]},
            {"id": 2, "category_id": 8, "iscrowd": 0, "area": 0, "bbox": [0, 0, 1, 1]},
        ]
        return PanopticSample(image, ids, segments, index, str(index))


def trainer(folder, recipe=RECIPE, **kwargs):
    seed_everything(0)
    model = create_model(MODEL)
    augment = Augmentation(recipe.augmentation, MODEL.label_set)
    return Trainer(model, recipe, Scenes(), augment, folder, device="cpu", **kwargs)


def test_the_loss_falls(tmp_path):
    run = trainer(tmp_path, dataclasses.replace(RECIPE, iterations=40))
    losses = [run.step([batch])["total"] for batch in run.batches()]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_resume_gives_the_weights_of_an_uninterrupted_run(tmp_path):
    whole = trainer(tmp_path / "a", validate=lambda model: {"PQ": 1.0})
    whole.run(progress=False)
    half = trainer(tmp_path / "b", validate=lambda model: {"PQ": 1.0})
    for batch in half.batches():
        half.step([batch])
        if half.iteration == 4:
            break
    half.save_state()
    resumed = trainer(tmp_path / "b", validate=lambda model: {"PQ": 1.0})
    torch.rand(3)  # what is drawn in a step does not depend on what was drawn before
    resumed.load_state()
    resumed.run(progress=False)
    assert resumed.iteration == whole.iteration
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key
        assert torch.equal(whole.average.model.state_dict()[key], resumed.average.model.state_dict()[key]), key


def test_the_best_weights_are_kept(tmp_path):
    scores, kept = iter((3.0, 5.0, 4.0)), []
    run = trainer(
        tmp_path,
        validate=lambda model: {"PQ": next(scores)},
        on_best=lambda model, metrics, iteration: kept.append((iteration, metrics["PQ"])),
    )
    history = run.run(progress=False)
    assert [h["PQ"] for h in history] == [3.0, 5.0, 4.0]
    assert kept == [(2, 3.0), (4, 5.0)]


def test_a_loss_that_is_not_finite_stops_with_a_reason(tmp_path):
    run = trainer(tmp_path)
    with torch.no_grad():
        run.model.decoder.stages[1].class_predictor.bias.fill_(float("nan"))
    batch = next(iter(run.batches()))
    with pytest.raises(InputError, match="not finite at iteration 0: s2_loss_ce=nan.*learning_rate"):
        run.step([batch])


def test_parameter_groups_of_the_paper():
    model = create_model(dataclasses.replace(MODEL, backbone_norm="batch_norm"))
    recipe = dataclasses.replace(RECIPE, learning_rate=1e-4, backbone_multiplier=0.1)
    settings = {
        id(p): (group["lr"], group["weight_decay"]) for group in create_optimizer(model, recipe).param_groups for p in group["params"]
    }
    expected = {
        "backbone.features.0.0.weight": (1e-5, 0.05),
        "backbone.features.0.1.weight": (1e-5, 0.0),
        "neck.output_conv.bias": (1e-4, 0.05),
        "neck.pyramid.upsamples.0.deform_norm.bias": (1e-4, 0.0),
        "decoder.stages.0.ffn_norm.weight": (1e-4, 0.0),
    }
    named = dict(model.named_parameters())
    assert len(settings) == len(named)
    for name, (rate, decay) in expected.items():
        assert settings[id(named[name])] == (pytest.approx(rate), decay), name


def test_learning_rate_schedules():
    poly = dataclasses.replace(RECIPE, iterations=100, warmup_iterations=10, schedule="poly")
    assert learning_rate_factor(0, poly) == pytest.approx(0.1)
    assert learning_rate_factor(50, poly) == pytest.approx(0.5**0.9)
    step = dataclasses.replace(RECIPE, iterations=100, schedule="step", steps=(60, 80))
    assert [learning_rate_factor(i, step) for i in (59, 60, 80)] == pytest.approx([1.0, 0.1, 0.01])


def test_samples_depend_on_seed_and_position_only():
    augment = Augmentation(RECIPE.augmentation, MODEL.label_set)
    first, second = (TrainingSet(Scenes(), augment, 12, seed) for seed in (1, 1))
    for index in (11, 0, 5):
        assert np.array_equal(first[index][0], second[index][0])
    other = TrainingSet(Scenes(), augment, 12, 2)
    assert any(not np.array_equal(first[i][0], other[i][0]) for i in range(12))
