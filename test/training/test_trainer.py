# SPDX-License-Identifier: Apache-2.0
"""The training loop: it learns, resumes to the same weights, keeps the paper's parameter groups, and stops on NaN."""

import dataclasses

import numpy as np
import pytest
import torch
from small_training import MODEL, RECIPE, Scenes, small_trainer

from yoso_ros.errors import InputError
from yoso_ros.models import create_model
from yoso_ros.models.yoso.aggregator import convert_aggregation
from yoso_ros.training.augment import Augmentation
from yoso_ros.training.batches import TrainingSet, pad_batch
from yoso_ros.training.config import AugmentationConfig
from yoso_ros.training.optim import create_optimizer, learning_rate_factor


def test_the_loss_falls(tmp_path):
    run = small_trainer(tmp_path, dataclasses.replace(RECIPE, iterations=40))
    losses = [run.step([batch])["total"] for batch in run.batches()]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_resume_gives_the_weights_of_an_uninterrupted_run(tmp_path):
    whole = small_trainer(tmp_path / "a", validate=lambda model: {"PQ": 1.0})
    whole.run(progress=False)
    half = small_trainer(tmp_path / "b", validate=lambda model: {"PQ": 1.0})
    for batch in half.batches():
        half.step([batch])
        if half.iteration == 4:
            break
    half.save_state()
    resumed = small_trainer(tmp_path / "b", validate=lambda model: {"PQ": 1.0})
    torch.rand(3)  # what is drawn in a step does not depend on what was drawn before
    resumed.load_state()
    resumed.run(progress=False)
    assert resumed.iteration == whole.iteration
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key
        assert torch.equal(whole.average.model.state_dict()[key], resumed.average.model.state_dict()[key]), key


def test_crops_of_any_size_are_padded_with_the_mean(tmp_path):
    recipe = dataclasses.replace(
        RECIPE, augmentation=dataclasses.replace(RECIPE.augmentation, crop_height=40, crop_width=70)
    )
    run = small_trainer(tmp_path, recipe)
    images, targets = next(iter(run.batches()))
    assert [image.shape for image in images] == 2 * [(3, 40, 70)]
    padded, padded_targets = pad_batch(images, targets, run.model.pixel_mean, 32)
    assert padded.shape == (2, 3, 64, 96)
    assert torch.equal(padded[..., :40, :70], torch.stack(images).float())
    mean = torch.tensor(MODEL.pixel_mean).view(1, 3, 1, 1)
    assert (padded[..., 40:, :] == mean).all() and (padded[..., 70:] == mean).all()
    for before, after in zip(targets, padded_targets, strict=True):
        assert after.masks.shape[1:] == (64, 96) and after.masks.dtype == torch.bool
        assert after.masks.sum() == before.masks.sum() > 0
        assert torch.equal(after.masks[:, :40, :70], before.masks)
    assert np.isfinite(run.step([(images, targets)])["total"])


def test_the_best_weights_are_kept(tmp_path):
    scores, kept = iter((3.0, 5.0, 4.0)), []
    run = small_trainer(
        tmp_path,
        validate=lambda model: {"PQ": next(scores)},
        on_best=lambda model, metrics, iteration: kept.append((iteration, metrics["PQ"])),
    )
    history = run.run(progress=False)
    assert [h["PQ"] for h in history] == [3.0, 5.0, 4.0]
    assert kept == [(2, 3.0), (4, 5.0)]


def test_a_loss_that_is_not_finite_stops_with_a_reason(tmp_path):
    run = small_trainer(tmp_path)
    with torch.no_grad():
        run.model.decoder.stages[1].class_predictor.bias.fill_(float("nan"))
    batch = next(iter(run.batches()))
    with pytest.raises(InputError, match="not finite at iteration 0: s2_loss_ce=nan.*learning_rate"):
        run.step([batch])


@pytest.mark.parametrize(
    ("device", "precision"),
    [
        ("cpu", "bf16"),
        pytest.param("cuda", "bf16", marks=pytest.mark.gpu),
        pytest.param("cuda", "fp16", marks=pytest.mark.gpu),
    ],
)
def test_mixed_precision_trains_like_float32(tmp_path, device, precision):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    runs = {}
    for name in ("fp32", precision):
        recipe = dataclasses.replace(RECIPE, iterations=15, precision=name)
        run = small_trainer(tmp_path, recipe, device=device)
        runs[name] = [run.step([batch])["total"] for batch in run.batches()]
        assert all(p.dtype == torch.float32 for p in run.model.parameters())
    assert runs[precision] != runs["fp32"]
    assert runs[precision][0] == pytest.approx(runs["fp32"][0], rel=0.05)
    assert np.mean(runs[precision][-5:]) < np.mean(runs[precision][:5])
    run.save_state()
    again = small_trainer(tmp_path, recipe, device=device)
    again.load_state()
    assert again.scaler.state_dict() == run.scaler.state_dict()


def test_parameter_groups_of_the_paper():
    model = create_model(dataclasses.replace(MODEL, backbone_norm="batch_norm"))
    recipe = dataclasses.replace(RECIPE, learning_rate=1e-4, backbone_multiplier=0.1)
    settings = {
        id(p): (group["lr"], group["weight_decay"])
        for group in create_optimizer(model, recipe).param_groups
        for p in group["params"]
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


def test_trained_interpolation_first_runs_convolution_first(tmp_path):
    # Table 5: after training, the convolution-first form gives the outputs of the interpolation-first one.
    ifa, cfa = (dataclasses.replace(MODEL, aggregation=form) for form in ("ifa", "cfa"))
    run = small_trainer(tmp_path, RECIPE, ifa)
    key = "neck.aggregation.weight"
    before = run.model.state_dict()[key].clone()
    run.run(progress=False)
    trained = run.model.double().eval()
    assert (trained.state_dict()[key] - before).abs().max() > 1e-4
    converted = create_model(cfa).double().eval()
    converted.load_state_dict(convert_aggregation(trained.state_dict(), "cfa"))
    images = 255 * torch.rand(1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        expected, found = trained(images), converted(images)
    assert (expected.class_logits - found.class_logits).abs().max() < 1e-9
    assert (expected.mask_logits - found.mask_logits).abs().max() < 1e-9


def test_whole_pictures_are_padded_to_the_largest_of_a_batch(tmp_path):
    whole = AugmentationConfig(resize="shortest_edge", shortest_edges=(40, 64), longest_edge=70)
    run = small_trainer(tmp_path, dataclasses.replace(RECIPE, augmentation=whole, batch_size=4))
    sizes, batches = set(), list(run.batches())
    for images, targets in batches:
        sizes |= {tuple(image.shape[1:]) for image in images}
        padded, padded_targets = pad_batch(images, targets, run.model.pixel_mean, 32)
        assert padded.shape[2:] == padded_targets[0].masks.shape[1:]
        for image, one, target in zip(images, padded, padded_targets, strict=True):
            height, width = image.shape[1:]
            assert torch.equal(one[:, :height, :width], image.float())
            assert (one[:, height:] == run.model.pixel_mean[0]).all() and not target.masks[:, height:].any()
    assert sizes == {(40, 40), (64, 64)}
    assert np.isfinite(run.step([batches[0]])["total"])


def test_sgd_with_momentum_and_frozen_stages(tmp_path):
    recipe = dataclasses.replace(RECIPE, optimizer="sgd", momentum=0.5, frozen_stages=2, iterations=2, weight_decay=0.0)
    run = small_trainer(tmp_path, recipe)
    assert type(run.optimizer) is torch.optim.SGD and run.optimizer.param_groups[0]["momentum"] == 0.5
    before = {name: value.clone() for name, value in run.model.named_parameters()}
    for batch in run.batches():
        run.step([batch])
    changed = {name for name, value in run.model.named_parameters() if not torch.equal(value, before[name])}
    frozen = {name for name, value in run.model.named_parameters() if not value.requires_grad}
    # The stem of MobileNetV2 is its first two layers; the stage of stride 4 ends with the fourth.
    assert {name.split(".")[2] for name in frozen} == {"0", "1", "2", "3"} and not frozen & changed
    assert any(name.startswith("backbone.features.4.") for name in changed)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "mobilenet_v2"])
def test_stages_of_a_backbone_hold_every_parameter_once(backbone):
    from yoso_ros.models.backbone import create_backbone

    model = create_backbone(backbone, "batch_norm")
    stages = model.stages()
    found = [id(p) for stage in stages for module in stage for p in module.parameters()]
    assert len(stages) == 5 and sorted(found) == sorted(id(p) for p in model.parameters())
