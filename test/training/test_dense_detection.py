# SPDX-License-Identifier: Apache-2.0
"""RealTimePan's targets and losses: hand-made cases, the equations written out, gradients by finite differences."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from rectangles import SIZE, target

from yoso_ros.fusion.detections import level_map_sizes
from yoso_ros.models import create_model, load_config
from yoso_ros.models.realtimepan.head import Predictions
from yoso_ros.training.criteria.dense_detection import (
    DenseDetectionCriterion,
    DenseDetectionCriterionConfig,
    focal_loss,
    mask_loss,
)
from yoso_ros.training.criteria.dense_targets import centerness, image_targets, location_targets
from yoso_ros.training.targets import Target

MODEL = load_config("realtimepan_mobilenetv2_synthetic")  # classes 0..2 are stuff, 3..5 things
NAMES = ["loss_box", "loss_centerness", "loss_class", "loss_levelness", "loss_mask", "loss_semantic"]


SCENE = target((0, 0, 0, 96, 64), (3, 8, 8, 40, 40), (5, 44, 4, 92, 60))
OTHER = target((1, 0, 0, 96, 30), (4, 60, 20, 70, 50))
EMPTY = target()


def predictions(batch=1, seed=0, dtype=torch.float64, levelness=True):
    """`Predictions` of boxes near 20 pixels, with gradients."""
    generator = torch.Generator().manual_seed(seed)

    def make(channels, size, scale=1.0, offset=0.0):
        values = torch.randn((batch, channels, *size), generator=generator, dtype=dtype)
        return (values * scale + offset).requires_grad_()

    sizes = level_map_sizes(*SIZE)
    dense = 2 * sizes[0][0], 2 * sizes[0][1]
    return Predictions(
        [make(3, size) for size in sizes],
        [make(4, size, 3.0, 20.0) for size in sizes],
        [make(1, size) for size in sizes],
        make(6, sizes[0]),
        make(6, dense) if levelness else None,
    )


def criterion(model=MODEL, **options):
    return DenseDetectionCriterion(model, DenseDetectionCriterionConfig(**options))


def losses(predicted, targets, own=None):
    own = own or criterion()
    return own(predicted, targets, own.normalizer(targets, SIZE))


def leaves(predicted):
    return [t for part in predicted if part is not None for t in (part if isinstance(part, list) else [part])]


def test_targets_of_a_location():
    image = image_targets(SCENE, MODEL.label_set.thing_ids)
    assert image.classes.tolist() == [0, 2]
    assert image.boxes.tolist() == [[8, 8, 40, 40], [44, 4, 92, 60]]
    asked = location_targets(image, (8, 12), 8, "masks")
    # Row 2, column 3: x = 28, y = 20.
    place = 2 * 12 + 3
    assert asked.instances[place] == 0
    assert asked.offsets[place].tolist() == [20, 12, 12, 20]
    expected = math.sqrt((12 / 20) * (12 / 20))
    torch.testing.assert_close(centerness(asked.offsets[place]), torch.tensor(expected))
    assert asked.instances[0] == -1 and asked.levels[0] == -1
    assert image.semantic_map[0, 0] == 0 and image.semantic_map[20, 28] == 3


@pytest.mark.parametrize(
    ("side", "level"), [(60, 0), (64, 0), (65, 1), (128, 1), (200, 2), (256, 2), (512, 3), (600, 4)]
)
def test_each_location_has_one_level(side, level):
    masks = torch.zeros((1, 8, side + 4), dtype=torch.bool)
    masks[:, :, 4:] = True
    image = image_targets(Target(torch.tensor([3]), masks), MODEL.label_set.thing_ids)
    assert location_targets(image, (1, 1), 8, "masks").levels.tolist() == [level]  # x = 4: everything to the right


def test_locations_outside_the_picture_are_background():
    image = image_targets(SCENE, MODEL.label_set.thing_ids)
    asked = location_targets(image, (1, 1), 128, "masks")
    assert asked.instances.tolist() == [-1]  # y = 64 is below the last row


def test_weak_supervision_is_by_boxes():
    masks = torch.zeros((2, *SIZE), dtype=torch.bool)
    masks[0, 8:40, 8] = masks[0, 8, 8:40] = True  # an L whose box is 32 x 32
    masks[1, 16:24, 16:24] = True  # inside that box
    image = image_targets(Target(torch.tensor([3, 4]), masks), MODEL.label_set.thing_ids)
    by_mask = location_targets(image, (8, 12), 8, "masks").instances.view(8, 12)
    by_box = location_targets(image, (8, 12), 8, "boxes").instances.view(8, 12)
    assert by_mask[3, 3] == -1 and by_box[3, 3] == 0  # x = y = 28
    assert by_mask[2, 2] == 1 and by_box[2, 2] == 1  # in both boxes: the smaller
    weak = criterion(supervision="boxes")
    assert "loss_mask" not in losses(predictions(), [SCENE], weak)


def test_losses_equal_the_equations():
    predicted, targets = predictions(2), [SCENE, OTHER]
    own = criterion(semantic_weight=0.4)
    found = losses(predicted, targets, own)
    assert sorted(found) == NAMES
    box = center = focal = 0.0
    foreground, locations = 0, 0
    for index, one in enumerate(targets):
        image = image_targets(one, MODEL.label_set.thing_ids)
        for level, (h, w) in enumerate(level_map_sizes(*SIZE)):
            stride = 8 << level
            for row in range(h):
                for column in range(w):
                    x, y = column * stride + stride // 2, row * stride + stride // 2
                    thing = image.instance_map[y, x].item() if y < 64 and x < 96 else -1
                    wanted = torch.zeros(3, dtype=torch.float64)
                    if thing >= 0:
                        x1, y1, x2, y2 = image.boxes[thing].tolist()
                        sides = [x - x1, y - y1, x2 - x, y2 - y]
                        if (0 if max(sides) <= 64 else 1) == level:
                            wanted[image.classes[thing]] = 1
                            foreground += 1
                            left, top, right, bottom = predicted.box_offsets[level][index, :, row, column].tolist()
                            over = (min(left, sides[0]) + min(right, sides[2])) * (
                                min(top, sides[1]) + min(bottom, sides[3])
                            )
                            union = (left + right) * (top + bottom) + (x2 - x1) * (y2 - y1) - over
                            box -= math.log(over / union)
                            truth = math.sqrt(
                                min(sides[0], sides[2]) / max(sides[0], sides[2])
                                * min(sides[1], sides[3]) / max(sides[1], sides[3])
                            )  # fmt: skip
                            guess = predicted.centerness_logits[level][index, 0, row, column].sigmoid().item()
                            center -= truth * math.log(guess) + (1 - truth) * math.log(1 - guess)
                    locations += 1
                    for logit, positive in zip(
                        predicted.box_class_logits[level][index, :, row, column].tolist(), wanted.tolist(), strict=True
                    ):
                        p = 1 / (1 + math.exp(-logit))
                        p, alpha = (p, 0.25) if positive else (1 - p, 0.75)
                        focal -= alpha * (1 - p) ** 2 * math.log(p)
    assert found["loss_box"].item() == pytest.approx(box / foreground)
    assert found["loss_centerness"].item() == pytest.approx(center / foreground, rel=1e-6)
    assert found["loss_class"].item() == pytest.approx(focal / locations)
    pixels, labels = [], []
    for one in targets:
        image = image_targets(one, MODEL.label_set.thing_ids)
        asked = location_targets(image, (16, 24), 4, "masks")
        labels.append(asked.levels.view(16, 24) + 1)
        pixels.append(image.semantic_map[2::4, 2::4])
    levelness = F.cross_entropy(predicted.levelness_logits, torch.stack(labels))
    assert found["loss_levelness"].item() == pytest.approx(levelness.item())
    logits = F.interpolate(predicted.semantic_logits, size=(16, 24), mode="bilinear")
    total, count = 0.0, 0
    for one, wanted in zip(logits, pixels, strict=True):
        each = F.cross_entropy(one[None], wanted[None], ignore_index=255, reduction="none").flatten()
        hardest = math.ceil(0.3 * int((wanted != 255).sum()))
        total, count = total + each.sort(descending=True).values[:hardest].sum().item(), count + hardest
    assert found["loss_semantic"].item() == pytest.approx(0.4 * total / count)


def test_mask_loss_of_a_hand_made_case():
    # Three pixels: one in the mask with the very box, one in it with half of the box, one outside with the box.
    boxes = torch.tensor([[0.0, 0, 10, 10]])
    dense = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 10]]).T
    inside = torch.tensor([[True, True, False]])
    found = mask_loss(dense, boxes, torch.tensor([0.8]), inside)
    assert found.item() == pytest.approx(0.8 / 2 * (0.5 + 1.0))


def test_focal_loss_of_certain_answers_is_nothing():
    logits = torch.tensor([20.0, -20.0], dtype=torch.float64)
    assert focal_loss(logits, torch.tensor([1.0, 0.0], dtype=torch.float64), 0.25, 2.0).item() < 1e-8


@pytest.mark.parametrize("levelness", [True, False])
def test_gradients_by_finite_differences(levelness):
    model = dataclasses.replace(MODEL, levelness=levelness)
    own, predicted = criterion(model), predictions(1, 3, levelness=levelness)
    normalizer, tensors = own.normalizer([SCENE], SIZE), leaves(predicted)
    found = own(predicted, [SCENE], normalizer)
    # The mask loss has a test of its own: its weight beta is a constant that a finite difference would move.
    for name in sorted(set(found) - {"loss_mask"}):
        gradients = torch.autograd.grad(found[name], tensors, retain_graph=True, allow_unused=True)
        generator = torch.Generator().manual_seed(1)
        for tensor, gradient in zip(tensors, gradients, strict=True):
            if gradient is None:
                continue
            direction = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
            sides = []
            for step in (1e-6, -1e-6):
                with torch.no_grad():
                    tensor += step * direction
                    sides.append(own(predicted, [SCENE], normalizer)[name].item())
                    tensor -= step * direction
            numeric, exact = (sides[0] - sides[1]) / 2e-6, (gradient * direction).sum().item()
            assert numeric == pytest.approx(exact, rel=1e-4, abs=1e-8), name


def test_gradients_of_the_mask_loss():
    generator = torch.Generator().manual_seed(0)
    centre = 30 + 5 * torch.randn((2, 40), generator=generator, dtype=torch.float64)
    dense = torch.cat([centre - 9, centre + 11]).requires_grad_()
    boxes = torch.tensor([[18.0, 21.5, 42.3, 40.1], [26.2, 10, 50, 39.7]], dtype=torch.float64, requires_grad=True)
    inside = torch.rand((2, 40), generator=generator) < 0.5
    agreement = torch.tensor([0.7, 0.9], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda d, b: mask_loss(d, b, agreement, inside), (dense, boxes))
    both = torch.cat([dense.detach(), dense.detach() + 3.3]).requires_grad_()
    assert torch.autograd.gradcheck(lambda d, b: mask_loss(d, b, agreement, inside), (both, boxes))


def share(field, start, size):
    if isinstance(field, list):
        return [share(level, start, size) for level in field]
    return field[start : start + size]


@pytest.mark.parametrize("split", [[1, 3], [2, 2], [4]])
def test_shared_out_batches_have_the_losses_of_the_joint_one(split):
    targets = [SCENE, EMPTY, OTHER, SCENE]
    whole = predictions(4, 2)
    own = criterion()
    joint = losses(whole, targets, own)
    parts, start = [], 0
    normalizer = torch.stack([own.normalizer([t], SIZE) for t in targets]).sum(0)
    torch.testing.assert_close(normalizer, own.normalizer(targets, SIZE))
    for size in split:
        part = Predictions(*(share(field, start, size) for field in whole))
        parts.append(own(part, targets[start : start + size], normalizer))
        start += size
    for name in joint:
        torch.testing.assert_close(sum(part[name] for part in parts), joint[name])


@pytest.mark.parametrize("targets", [[EMPTY], [target((0, 0, 0, 96, 64))], [target((3, 5, 5, 6, 6))]])
def test_pictures_without_things(targets):
    """No segment at all, stuff only, and a thing so small that no location falls into it."""
    predicted = predictions(dtype=torch.float32)
    found = losses(predicted, targets)
    assert all(value.isfinite() for value in found.values())
    assert found["loss_box"] == 0 and found["loss_mask"] == 0
    sum(found.values()).backward()
    assert all(t.grad is not None and t.grad.isfinite().all() for t in leaves(predicted))


@pytest.mark.parametrize("row", [
    {"two_towers": False, "levelness": False, "mask_loss": False},
    {"two_towers": True, "levelness": False, "mask_loss": False},
    {"two_towers": True, "levelness": True, "mask_loss": False},
    {"two_towers": True, "levelness": True, "mask_loss": True},
    {"two_towers": True, "levelness": True, "supervision": "boxes"},
])  # fmt: skip
def test_rows_of_table_3_train(row):
    own = {k: row[k] for k in row if k in ("mask_loss", "supervision")}
    config = dataclasses.replace(MODEL, **{k: v for k, v in row.items() if k not in own})
    torch.manual_seed(0)
    model = create_model(config)
    rule = criterion(config, **own)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    images = 255 * torch.rand(2, 3, *SIZE)
    targets, values = [SCENE, OTHER], []
    for _ in range(4):
        found = rule(model(images), targets, rule.normalizer(targets, SIZE))
        assert ("loss_levelness" in found) == config.levelness
        assert ("loss_mask" in found) == (row.get("mask_loss", False))
        optimizer.zero_grad()
        sum(found.values()).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
        optimizer.step()
        values.append(sum(found.values()).item())
    assert values[-1] < values[0]
