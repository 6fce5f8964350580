# SPDX-License-Identifier: Apache-2.0
"""DR1Mask's targets and losses: hand-made cases, the equations written out, gradients by finite differences."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from rectangles import SIZE, target

from yoso_ros.fusion.detections import level_map_sizes
from yoso_ros.fusion.instance_attention import crop_logits
from yoso_ros.fusion.roi_align import roi_align
from yoso_ros.models import create_model, load_config
from yoso_ros.models.dr1mask.network import Predictions
from yoso_ros.training.criteria.cropped_masks import crop_targets
from yoso_ros.training.criteria.dense_targets import image_targets
from yoso_ros.training.criteria.unified import (
    UnifiedCriterion,
    UnifiedCriterionConfig,
    fcos_targets,
    giou_loss,
    mean_embeddings,
)
from yoso_ros.training.targets import Target

MODEL = dataclasses.replace(load_config("dr1mask_mobilenetv2_synthetic"), basis_width=3)  # 0..2 stuff, 3..5 things
SIZES = level_map_sizes(*SIZE)
LOCATIONS = sum(h * w for h, w in SIZES)
FORMS = [("panoptic", "vector"), ("panoptic", "factored"), *(("instance", a) for a in ("vector", "full", "factored"))]


SCENE = target((0, 0, 0, 96, 60), (3, 8, 8, 40, 40), (5, 44, 4, 92, 60))
OTHER = target((1, 0, 0, 96, 30), (4, 50, 20, 76, 50))
EMPTY = target()


def form(mode, attention):
    return dataclasses.replace(MODEL, mode=mode, attention=attention)


def predictions(model=MODEL, batch=1, dtype=torch.float64):
    """`Predictions` of a configuration, of boxes near 20 pixels, with gradients."""
    generator = torch.Generator().manual_seed(0)

    def make(*shape, scale=1.0, offset=0.0):
        values = torch.randn((batch, *shape), generator=generator, dtype=dtype)
        return (values * scale + offset).requires_grad_()

    depth = 4 if model.attention == "full" else model.basis_width
    return Predictions(
        make(LOCATIONS, 3),
        make(LOCATIONS, 4, scale=3.0, offset=20.0),
        make(LOCATIONS),
        make(LOCATIONS, model.embedding_size),
        make(depth, 16, 24),
        make(3, 16, 24) if model.mode == "panoptic" else None,
        make(2, 4, 4, 14) if model.attention == "factored" else None,
        make(6, 8, 12),
    )


def losses(predicted, targets, model=MODEL, **options):
    own = UnifiedCriterion(model, UnifiedCriterionConfig(**options))
    return own(predicted, targets, own.normalizer(targets, SIZE))


def test_targets_by_hand():
    boxes = torch.tensor([[0.0, 0, 64, 64], [16, 16, 48, 32], [0, 0, 96, 66]])
    instances, offsets = fcos_targets(boxes, SIZES[0], 0, 1.5)
    at = {(x, y): (y // 8) * 12 + x // 8 for x in range(4, 96, 8) for y in range(4, 64, 8)}
    # (28, 28) is in all boxes, within 12 pixels of the centres of the first two: the smaller one has it.
    assert instances[at[28, 28]] == 1 and offsets[at[28, 28]].tolist() == [12, 12, 20, 4]
    assert instances[at[36, 44]] == 0  # near the centre (32, 32) of the first alone
    assert instances[at[12, 12]] == -1  # inside, but far from every centre
    assert instances[at[52, 36]] == 2  # of the third, 52 pixels from its farthest side: P3
    assert (fcos_targets(boxes[:0], SIZES[1], 1, 1.5)[0] == -1).all()
    # 66 pixels to the right of a location by the left side: that is the range of P4.
    wide = torch.tensor([[0.0, 8, 150, 40]])
    assert not (fcos_targets(wide, (5, 19), 0, 1.5)[0] == 0).any()
    assert (fcos_targets(wide, (3, 10), 1, 1.5)[0] == 0).any()


def test_giou_and_mean_embeddings_by_hand():
    a, b = torch.tensor([[2.0, 2, 2, 2]]), torch.tensor([[2.0, 2, 6, 2], [2, 2, 2, 2]])
    # 4x4 and 8x4: intersection 16, union and hull 32.
    assert giou_loss(a, b[:1]).item() == pytest.approx(0.5) and giou_loss(a, b[1:]).item() == pytest.approx(0.0)
    # 4x8 and 8x4 around one corner: intersection 16, union 48, hull 64.
    crossed = giou_loss(torch.tensor([[2.0, 2, 2, 6]]), b[:1]).item()
    assert crossed == pytest.approx(1 - 16 / 48 + 16 / 64)
    means = mean_embeddings(torch.tensor([[1.0], [2], [4], [8]]), torch.tensor([0, 2, -1, 2]), torch.tensor([0, 2]))
    assert means.tolist() == [[1.0], [5.0]]


def test_the_panoptic_loss_equals_equation_9():
    predicted = predictions()
    found = losses(predicted, [SCENE], panoptic_weight=2.0)["loss_panoptic"].item()
    image = image_targets(SCENE, MODEL.label_set.thing_ids)
    parts = [fcos_targets(image.boxes, size, level, 1.5)[0] for level, size in enumerate(SIZES)]
    instances = torch.cat(parts)
    total, pixels = 0.0, 0
    for row in range(16):
        for column in range(24):
            x, y = 4 * column + 2, 4 * row + 2
            values = predicted.stuff_logits[0, :, row, column].tolist()
            floor = max(values) - 10
            for k, (x1, y1, x2, y2) in enumerate(image.boxes.tolist()):
                mean = predicted.embeddings[0, instances == k].mean(0)
                near = x1 - 4 <= x <= x2 + 4 and y1 - 4 <= y <= y2 + 4
                values.append((mean @ predicted.basis[0, :, row, column]).item() if near else floor)
            thing, label = image.instance_map[y, x].item(), image.semantic_map[y, x].item()
            if thing < 0 and label == 255:
                continue
            total -= values[3 + thing if thing >= 0 else label] - math.log(sum(map(math.exp, values)))
            pixels += 1
    assert 0 < pixels < 16 * 24
    assert found == pytest.approx(2.0 * total / pixels)


@pytest.mark.parametrize("attention", ["vector", "full", "factored"])
def test_the_mask_loss_supervises_each_location_by_itself(attention):
    model = form("instance", attention)
    predicted = predictions(model)
    found = losses(predicted, [SCENE], model)
    assert "loss_panoptic" not in found
    image = image_targets(SCENE, MODEL.label_set.thing_ids)
    components = None if predicted.attention_components is None else predicted.attention_components[0]
    total = weight = start = 0
    for level, size in enumerate(SIZES):
        instances, offsets = fcos_targets(image.boxes, size, level, 1.5)
        for place in (instances >= 0).nonzero()[:, 0].tolist():
            left, top, right, bottom = offsets[place].tolist()
            center = math.sqrt(min(left, right) / max(left, right) * min(top, bottom) / max(top, bottom))
            thing = int(instances[place])
            crop = roi_align(predicted.basis[0], image.boxes[thing : thing + 1], 56, 4)
            embedding = predicted.embeddings[0, start + place : start + place + 1]
            logits = crop_logits(crop, embedding, attention, components)
            # Both things fill their boxes.
            total += center * F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits)).item()
            weight += center
        start += len(instances)
    assert found["loss_mask"].item() == pytest.approx(total / weight, rel=1e-5)


def test_true_masks_in_crops():
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[10:40, 20:36] = True
    inside = crop_targets(mask, torch.tensor([[20.0, 10, 52, 40]]))[0]  # the left half of its box
    assert inside[:, :28].all() and not inside[:, 28:].any()


@pytest.mark.parametrize(("mode", "attention"), FORMS)
def test_gradients_by_finite_differences(mode, attention):
    model = form(mode, attention)
    predicted, generator = predictions(model), torch.Generator().manual_seed(1)
    own = UnifiedCriterion(model, UnifiedCriterionConfig())
    normalizer = own.normalizer([SCENE], SIZE)
    found = own(predicted, [SCENE], normalizer)
    assert len(found) == 5
    leaves = [t for t in predicted if t is not None]
    gradients = torch.autograd.grad(sum(found.values()), leaves)
    for tensor, gradient in zip(leaves, gradients, strict=True):
        direction, sides = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype), []
        with torch.no_grad():
            for step in (1e-6, -2e-6):
                tensor += step * direction
                sides.append(sum(own(predicted, [SCENE], normalizer).values()).item())
            tensor += 1e-6 * direction
        assert (sides[0] - sides[1]) / 2e-6 == pytest.approx((gradient * direction).sum().item(), rel=1e-4, abs=1e-8)
        assert gradient.abs().max() > 0


@pytest.mark.parametrize("mode", ["panoptic", "instance"])
def test_shared_out_batches_have_the_losses_of_the_joint_one(mode):
    model, targets = form(mode, "factored"), [SCENE, EMPTY, OTHER]
    whole, own = predictions(model, 3), UnifiedCriterion(model, UnifiedCriterionConfig())
    normalizer = sum(own.normalizer([t], SIZE) for t in targets)
    torch.testing.assert_close(normalizer, own.normalizer(targets, SIZE))
    joint, parts = own(whole, targets, normalizer), []
    for start, end in ((0, 1), (1, 3)):
        part = Predictions(*(None if field is None else field[start:end] for field in whole))
        parts.append(own(part, targets[start:end], normalizer))
    for name in joint:
        torch.testing.assert_close(sum(part[name] for part in parts), joint[name])


SWITCHES = [  # of Tables 1 to 7, several at a time
    {"use_a": False, "context_position": "fpn"},
    {"use_b": False, "mode": "instance", "attention": "full"},
    {"use_a": False, "use_b": False, "mode": "instance", "attention": "factored"},
    {"context_position": "class_tower", "attention": "factored"},
    {"divisibility": 128, "mode": "instance"},
    {"divisibility": 32, "upsampling": "bilinear", "basis_width": 64, "offset_form": "relu"},
]


@pytest.mark.parametrize("changes", SWITCHES, ids=str)
def test_every_switch_gives_every_parameter_a_gradient(changes):
    small = {"pyramid_channels": 16, "tower_channels": 16, "tower_depth": 1, "basis_width": 8}
    config = dataclasses.replace(load_config("dr1mask_mobilenetv2_synthetic"), **{**small, **changes})
    torch.manual_seed(0)
    model, own = create_model(config), UnifiedCriterion(config, UnifiedCriterionConfig())
    size = (128, 128) if config.divisibility == 128 else SIZE
    targets = [Target(t.labels, F.pad(t.masks, (0, size[1] - 96, 0, size[0] - 64))) for t in (SCENE, EMPTY)]
    images = 255 * torch.rand(2, 3, *size)
    found = own(model(images), targets, own.normalizer(targets, size))
    sum(found.values()).backward()
    # Levels without a box pass nothing on to their own parameters; what all levels share has a gradient.
    shared = ("basis", "embedding", "context", "stuff", "attended", "attention", "auxiliary", "towers")
    assert not [n for n, p in model.named_parameters() if n.startswith(shared) and not p.grad.any()]
    # Nothing but empty pictures: still a number, and no parameter that gradients of several processes would miss.
    found = own(model(images), [targets[1]] * 2, own.normalizer([targets[1]] * 2, size))
    model.zero_grad()
    sum(found.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    with torch.no_grad():
        outputs = model.eval()(images[:1])
    assert type(outputs) is model.Outputs and all(t.isfinite().all() for t in outputs)
