# SPDX-License-Identifier: Apache-2.0
"""The shipped recipes: solver numbers and sizes of the paper's four are the authors', and all give batches."""

import json
import re

import numpy as np
import pytest

from yoso_ros.data.samples import PanopticSample
from yoso_ros.errors import InputError
from yoso_ros.models import load_config
from yoso_ros.training.augment import Augmentation
from yoso_ros.training.config import load_recipe, recipe_names
from yoso_ros.training.optim import learning_rate_factor

PAPER = ("coco", "cityscapes", "ade20k", "mapillary")
SCHEDULES = {"WarmupMultiStepLR": "step", "WarmupPolyLR": "poly"}


@pytest.mark.parametrize("name", PAPER)
def test_solver_numbers_are_the_authors(golden, name):
    solver = json.loads((golden / "metadata.json").read_text())[name]["solver"]
    recipe = load_recipe(f"yoso_r50_{name}")
    assert recipe.model == f"yoso_r50_{name}"
    assert recipe.iterations == solver["max_iter"]
    assert recipe.batch_size == solver["batch"]
    assert recipe.learning_rate == solver["base_lr"]
    assert recipe.weight_decay == solver["wd"]
    assert recipe.backbone_multiplier == solver["backbone_mult"]
    assert recipe.clip_norm == solver["clip"]
    assert recipe.schedule == SCHEDULES[solver["sched"]]
    if recipe.schedule == "step":
        assert list(recipe.steps) == solver["steps"]
        assert recipe.step_factor == solver["gamma"]
    warmup_iterations, warmup_factor = solver["warmup"]
    assert recipe.warmup_iterations == warmup_iterations
    assert learning_rate_factor(0, recipe) == warmup_factor
    assert recipe.ema_decay is None and recipe.precision == "fp32"


@pytest.mark.parametrize(
    ("name", "crop", "shortest", "longest", "color"),
    [
        ("coco", (1024, 1024), None, None, False),
        ("cityscapes", (512, 1024), 1024, 4096, True),
        ("ade20k", (640, 640), 640, 2560, True),
        ("mapillary", (1024, 1024), 2048, 8192, True),
    ],
)
def test_augmentation_of_the_paper(name, crop, shortest, longest, color):
    config = load_recipe(f"yoso_r50_{name}").augmentation
    assert (config.crop_height, config.crop_width) == crop
    assert config.flip and config.color == color
    if shortest is None:
        assert (config.resize, config.scale_min, config.scale_max) == ("jitter", 0.1, 2.0)
    else:
        # from half to twice the size in steps of a tenth, rounded down
        assert config.resize == "shortest_edge" and config.longest_edge == longest
        assert list(config.shortest_edges) == [shortest * tenths // 10 for tenths in range(5, 21)]
        assert config.max_category_ratio == 1.0


def test_numbers_of_realtimepan():
    cityscapes, coco = (load_recipe(f"realtimepan_r50_{name}") for name in ("cityscapes", "coco"))
    assert (cityscapes.batch_size, cityscapes.iterations, cityscapes.steps) == (8, 48000, (36000, 44000))
    assert (coco.batch_size, coco.iterations, coco.steps) == (16, 180000, (120000, 160000))
    assert (cityscapes.learning_rate, coco.learning_rate) == (0.013, 0.01)
    assert (cityscapes.criterion.semantic_weight, coco.criterion.semantic_weight) == (1.0, 0.4)
    for recipe in (cityscapes, coco):
        assert (recipe.weight_decay, recipe.step_factor, recipe.optimizer) == (1e-4, 0.1, "sgd")
        assert recipe.criterion.hardest_share == 0.3 and recipe.criterion.focal_average == "locations"
    # A crop of 1800x900 and then a scale of 0.7 to 1.3; the shortest side one of three, no crop.
    crop = cityscapes.augmentation
    assert (crop.crop_width, crop.crop_height, crop.scale_min, crop.scale_max) == (1800, 900, 0.7, 1.3)
    assert coco.augmentation.shortest_edges == (640, 720, 800) and not coco.augmentation.crop_height


def test_a_crop_is_scaled_after_it_is_cut():
    recipe = load_recipe("realtimepan_r50_cityscapes")
    augment = Augmentation(recipe.augmentation, load_config(recipe.model).label_set)
    generator = np.random.default_rng(0)
    ids = np.ones((1024, 2048), np.int32)
    segments = [{"id": 1, "category_id": 7, "iscrowd": 0}]
    frame = np.zeros((1024, 2048, 3), np.uint8)
    for _ in range(3):
        image, _, masks = augment(PanopticSample(frame, ids, segments, 0, ""), generator)
        assert 630 <= image.shape[0] <= 1170 and abs(image.shape[1] - 2 * image.shape[0]) <= 1
        assert masks.shape[1:] == image.shape[:2] and masks.all()


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_gives_samples_of_its_size(name):
    recipe = load_recipe(name)
    label_set = load_config(recipe.model).label_set
    augment = Augmentation(recipe.augmentation, label_set)
    generator = np.random.default_rng(0)
    for height, width in ((120, 160), (150, 90)):
        ids = np.ones((height, width), np.int32)
        ids[: height // 2] = 2
        segments = [
            {"id": i + 1, "category_id": c.dataset_id, "iscrowd": 0} for i, c in enumerate(label_set.classes[:2])
        ]
        image, labels, masks = augment(
            PanopticSample(generator.integers(0, 256, (height, width, 3), np.uint8), ids, segments, 0, ""), generator
        )
        if recipe.augmentation.crop_height and recipe.augmentation.resize != "after_crop":
            assert image.shape == (recipe.augmentation.crop_height, recipe.augmentation.crop_width, 3)
        assert masks.shape == (len(labels), *image.shape[:2])
        assert set(labels.tolist()) <= {0, 1}
        assert masks.any(axis=(1, 2)).all() and (masks.sum(axis=0) <= 1).all()


def test_unknown_recipes_and_keys_are_named(tmp_path):
    with pytest.raises(InputError, match="unknown recipe 'nope'; known: .*yoso_r50_coco"):
        load_recipe("nope")
    path = tmp_path / "own.yaml"
    augmentation = "augmentation: {crop_height: 64, crop_width: 64, resize: shortest_edge}"
    path.write_text(f"model: yoso_r50_coco\niterations: 5\n{augmentation}\n")
    with pytest.raises(InputError, match="needs shortest_edges and longest_edge"):
        load_recipe(path)
    path.write_text(
        "model: yoso_r50_coco\niterations: 5\nlearning_rat: 1\naugmentation: {crop_height: 64, crop_width: 64}\n"
    )
    with pytest.raises(InputError, match=r"own\.yaml: unknown key learning_rat; allowed: .*learning_rate"):
        load_recipe(path)
    path.write_text(
        "model: yoso_r50_coco\niterations: 5\nbatch_size: 0\naugmentation: {crop_height: 64, crop_width: 64}\n"
    )
    with pytest.raises(InputError, match="batch_size: expected at least 1"):
        load_recipe(path)
    path.write_text("model: yoso_r50_coco\niterations: 5\naugmentation: {crop_height: 64}\n")
    with pytest.raises(InputError, match="expected crop_height and crop_width of at least 1"):
        load_recipe(path)
    crop = "augmentation: {crop_height: 64, crop_width: 64}"
    path.write_text(f"model: yoso_r50_coco\niterations: 5\n{crop}\nfrozen_stages: 6\n")
    with pytest.raises(InputError, match="frozen_stages: expected 0 to 5, found 6"):
        load_recipe(path)
    path.write_text(f"model: yoso_r50_coco\niterations: 5\n{crop}\ncriterion: {{dice_wait: 1}}\n")
    with pytest.raises(InputError, match="criterion: unknown key dice_wait; allowed: .*dice_weight"):
        load_recipe(path)


def test_fields_of_the_model_are_set_by_the_command_and_checked(tmp_path, capsys):
    from yoso_ros.cli import main

    command = ["train", "camvid_mobilenetv2", "--data", str(tmp_path), "--output", str(tmp_path), "--set"]
    for change, message in (
        ("aggregation=oldest", "aggregation: expected one of cfa, ifa, found 'oldest'"),
        ("hidden_dims=3", "unknown key hidden_dims; allowed: .*hidden_dim"),
        ("hidden_dim", "--set: expected KEY=VALUE, found 'hidden_dim'"),
        ("hidden_dim=wide", "hidden_dim: expected int, found 'wide'"),
    ):
        assert main([*command, change]) == 2
        assert re.search(message, capsys.readouterr().err)


def test_backbone_weights_fit_a_network_that_divides_by_other_numbers(tmp_path):
    import dataclasses

    import torch

    from yoso_ros.models import create_model
    from yoso_ros.training.backbone_weights import load_backbone_weights

    own = load_config("realtimepan_mobilenetv2_synthetic")
    source = create_model(own)
    torch.save(source.backbone.state_dict(), tmp_path / "backbone.pth")
    other = create_model(dataclasses.replace(own, pixel_std=(1.0, 1.0, 1.0)))
    load_backbone_weights(other.backbone, tmp_path / "backbone.pth", other.config.pixel_std)
    images = 255 * torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        expected, found = (m.eval().backbone(m.normalize(images))[-1] for m in (source, other))
    torch.testing.assert_close(found, expected)
    load_backbone_weights(source.backbone, tmp_path / "backbone.pth")
    with torch.no_grad():
        assert torch.equal(source.backbone(source.normalize(images))[-1], expected)
