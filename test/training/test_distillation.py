# SPDX-License-Identifier: Apache-2.0
"""A student comes nearer to its teacher than without it, and the teacher's segments are what they should be."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from small_training import MODEL, RECIPE

from yoso_ros.data.synthetic import Renderer, random_scene
from yoso_ros.errors import InputError
from yoso_ros.models import create_model, load_config
from yoso_ros.training.criteria.mask_classification import MaskCriterionConfig
from yoso_ros.training.criteria.mask_distillation import soft_targets
from yoso_ros.training.distillation import Distillation, DistillationConfig
from yoso_ros.training.targets import Target
from yoso_ros.training.trainer import Trainer, seed_everything

TEACHER = load_config("yoso_mobilenetv2_synthetic")
STUDENT = dataclasses.replace(MODEL, label_set=TEACHER.label_set, num_proposals=30)
CRITERION = MaskCriterionConfig(num_points=512)


def test_soft_targets_are_the_sure_segments_in_the_order_of_the_students_classes():
    logits = torch.tensor([[[3.0, 0.0, 0.0], [0.0, 0.2, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 9.0]]])
    masks = torch.arange(16.0).reshape(1, 4, 2, 2) - 8
    (target,) = soft_targets(SimpleNamespace(class_logits=logits, mask_logits=masks), [1, 0], 0.5)
    # Of four proposals the second is unsure and the last is no object.
    assert target.labels.tolist() == [1, 0]
    torch.testing.assert_close(target.masks, masks[0, [0, 2]].sigmoid())
    torch.testing.assert_close(target.classes, logits[0, [0, 2]].softmax(-1)[:, [1, 0, 2]])


@pytest.fixture(scope="module")
def distillation():
    return Distillation(DistillationConfig(teacher=TEACHER.name, scale=1.0, weight=0.5), STUDENT, CRITERION, "cpu")


@pytest.fixture(scope="module")
def image():
    return torch.from_numpy(Renderer(128, 96).render(random_scene(4), 2.0).image).permute(2, 0, 1)


def test_the_losses_lower_the_distance_to_the_teacher(distillation, image):
    """Of outputs that are free to move: all that the losses ask for is in the distance, and nothing else moves them."""
    torch.manual_seed(0)
    targets = distillation.targets(image[None].float())
    segments = len(targets[0].labels)
    assert segments > 8
    outputs = [torch.randn(1, segments, 7).requires_grad_(), torch.randn(1, segments, 24, 32).requires_grad_()]
    wanted, start = class_shares(targets[0].classes, targets[0].masks), student_shares(outputs)
    optimizer = torch.optim.Adam(outputs, lr=0.3)
    for _ in range(40):
        optimizer.zero_grad()
        sum(distillation([outputs], targets, distillation.normalizer(targets)).values()).backward()
        optimizer.step()
    before, after = ((found - wanted).abs().mean() for found in (start, student_shares(outputs)))
    assert after < 0.25 * before


def test_the_trainer_adds_the_losses_of_the_teacher(distillation, image, tmp_path):
    def losses(teacher):
        seed_everything(3)
        trainer = Trainer(create_model(STUDENT), RECIPE, [], None, tmp_path, device="cpu", distillation=teacher)
        masks = torch.zeros(1, 96, 128, dtype=torch.bool)
        masks[:, 48:] = True
        return trainer.step([([image], [Target(torch.tensor([0]), masks)])])

    taught, alone = losses(distillation), losses(None)
    more = {name: value for name, value in taught.items() if name.startswith("teacher_")}
    assert len(more) == 8 and all(value > 0 for value in more.values())
    assert taught["total"] == pytest.approx(alone["total"] + sum(more.values()), rel=1e-5)


def student_shares(outputs):
    return class_shares(outputs[0][0].detach().softmax(-1), outputs[1][0].detach().sigmoid())


def class_shares(classes, masks):
    """Share of each class in each pixel, (C, h, w), of classes (N, C+1) and masks (N, h, w) as probabilities."""
    found = torch.einsum("nc,nhw->chw", classes[:, :-1], masks)
    return found / found.sum(0).clamp(min=1e-6)


@pytest.mark.parametrize(
    ("teacher", "student", "words"),
    [
        ("yoso_mobilenetv2_camvid", TEACHER, "expected a teacher with the classes floor"),
        ("realtimepan_mobilenetv2_synthetic", TEACHER, "expected a network of yoso, found realtimepan"),
    ],
)
def test_a_teacher_that_does_not_fit_is_one_line(teacher, student, words):
    with pytest.raises(InputError, match=words):
        Distillation(DistillationConfig(teacher=teacher), student, RECIPE.criterion, "cpu")
