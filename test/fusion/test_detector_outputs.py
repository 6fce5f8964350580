# SPDX-License-Identifier: Apache-2.0
"""Outputs that no good network gives, for every detector: each has a clear result, and none stops a frame."""

import dataclasses
import functools

import pytest
import torch

from yoso_ros.fusion import find_fusion
from yoso_ros.fusion.dense_boxes import find_queries
from yoso_ros.fusion.detections import level_map_sizes
from yoso_ros.fusion.dr1mask import find_boxes
from yoso_ros.models import create_model, load_config
from yoso_ros.models.factory import find_architecture

SIZE, OUTPUT = (128, 192), (70, 90)
SMALL = {"pyramid_channels": 8, "tower_depth": 1, "backbone": "resnet18"}
FORMS = {
    "realtimepan": {},
    "dr1mask": {},
    "dr1mask factored": {"attention": "factored"},
    "dr1mask instance": {"mode": "instance"},
    "dr1mask instance factored": {"mode": "instance", "attention": "factored"},
}


def configuration(form, **changes):
    own = load_config(f"{form.split()[0]}_mobilenetv2_synthetic")
    return dataclasses.replace(own, **FORMS[form], stuff_area_limit=0, **changes)


@functools.cache
def shapes_of(form):
    """The network's own class of outputs, and their shapes for one image."""
    with torch.device("meta"):
        model = create_model(dataclasses.replace(configuration(form), **SMALL), weights_follow=True).eval()
        return model.Outputs, [tensor.shape[1:] for tensor in model(torch.zeros(1, 3, *SIZE))]


def outputs_of(form):
    """Outputs of one image without a box that is found."""
    kind, shapes = shapes_of(form)
    generator = torch.Generator().manual_seed(0)
    outputs = kind(*(torch.randn(shape, generator=generator) for shape in shapes))
    outputs.box_scores.zero_()
    outputs.centerness.fill_(1.0)
    outputs.boxes[:] = torch.tensor([10.0, 10, 30, 30])
    if hasattr(outputs, "dense_boxes"):  # of pixels at the left, in the middle and at the right
        middle = 50.0 * (torch.arange(SIZE[1] // 4) // 16) + 34
        outputs.dense_boxes[:] = 60.0
        outputs.dense_boxes[0::4], outputs.dense_boxes[2::4] = middle - 26, middle + 26
        outputs.dense_boxes[1::4], outputs.dense_boxes[3::4] = 20.0, 100.0
    return outputs


def results(form, outputs, config=None):
    config = config or configuration(form)
    fusion = find_fusion(config.architecture)
    merged = fusion.merge(outputs, SIZE, OUTPUT, config)
    assert merged.segment_map.shape == OUTPUT and merged.confidence.shape == OUTPUT
    ids, areas = merged.segment_map.unique(return_counts=True)
    found = dict(zip(ids.tolist(), areas.tolist(), strict=True))
    found.pop(0, None)
    assert found == {s.id: s.area for s in merged.segments}
    assert all(0 <= s.score <= 1 for s in merged.segments)
    instances = fusion.instances(outputs, SIZE, OUTPUT, config)
    assert instances.masks.shape == (len(instances.scores), *OUTPUT) and instances.scores.isfinite().all()
    if getattr(config, "mode", "panoptic") == "panoptic":
        assert int(fusion.semantic(outputs, SIZE, OUTPUT, config).max()) < len(config.label_set)
    return merged, instances


def things(merged):
    return [s for s in merged.segments if s.is_thing]


@pytest.mark.parametrize("form", FORMS)
def test_no_boxes_a_thousand_boxes_and_boxes_outside(form):
    outputs = outputs_of(form)
    merged, instances = results(form, outputs)
    assert not things(merged) and len(instances.scores) == 0
    # A thousand and more boxes of 2x2 pixels that do not touch, on every level, all of them kept.
    number = len(outputs.boxes)
    place = torch.arange(number)
    corner = torch.stack([place % 64 * 3, place // 64 * 3], 1).float()
    outputs.boxes[:] = torch.cat([corner, corner + 2], 1)
    outputs.box_scores[:] = torch.rand(outputs.box_scores.shape, generator=torch.Generator().manual_seed(0))
    many = configuration(form, max_boxes=1000, score_threshold=0.0, pre_nms_top_n=5000)
    _, instances = results(form, outputs, many)
    # A map of winners has 255 places, for the stuff too.
    most = 255 - 3 if form.startswith("dr1mask") and "instance" not in form else 450
    assert len(instances.scores) >= most
    # Above it, at the left, far outside at the right; and one with its corners the wrong way round.
    for box in ([5000.0, 5000, 6000, 6000], [-90, -90, -50, -50], [1e30, 0, 1e31, 1], [60, 60, 20, 20]):
        outputs.boxes[:] = torch.tensor(box)
        merged, instances = results(form, outputs)
        assert not things(merged) and not instances.masks.any()


@pytest.mark.parametrize("form", FORMS)
def test_what_is_not_a_number_finds_nothing(form):
    for field in find_architecture(form.split()[0]).network.Outputs._fields:
        outputs = outputs_of(form)
        if not hasattr(outputs, field):
            continue
        outputs.box_scores[:40] = 0.9
        getattr(outputs, field).fill_(torch.nan)
        merged, instances = results(form, outputs)
        if field not in ("stuff_logits",):  # of which the things do not depend
            assert not things(merged) and not instances.masks.any()


@pytest.mark.parametrize(("form", "find"), [("realtimepan", find_queries), ("dr1mask", find_boxes)])
def test_a_threshold_before_the_suppression_changes_nothing_above_it(form, find):
    outputs, generator = outputs_of(form), torch.Generator().manual_seed(0)
    corner = 60 * torch.rand((len(outputs.boxes), 2), generator=generator)
    outputs.boxes[:] = torch.cat([corner, corner + 20 + 40 * torch.rand(corner.shape, generator=generator)], 1)
    outputs.box_scores[:] = torch.rand(outputs.box_scores.shape, generator=generator)
    outputs.centerness[:] = torch.rand(outputs.centerness.shape, generator=generator)
    config = configuration(form, max_boxes=1000)
    every = find(outputs, SIZE, config)
    threshold = every.scores.median().item()
    strong, expected = find(outputs, SIZE, config, threshold), every.select(every.scores >= threshold)
    assert 0 < len(expected.scores) < len(every.scores)
    assert all(torch.equal(a, b) for a, b in zip(strong, expected, strict=True))


def test_things_need_not_be_contiguous():
    """Classes in another order give the same map, whichever numbers the things have."""
    order = (3, 0, 4, 1, 5, 2)
    for form in FORMS:
        own = configuration(form, score_threshold=0.0)
        classes = own.label_set.classes
        mixed = dataclasses.replace(
            own, label_set=dataclasses.replace(own.label_set, classes=tuple(classes[i] for i in order))
        )
        assert own.label_set.thing_ids == (3, 4, 5) and mixed.label_set.thing_ids == (0, 2, 4)
        outputs = outputs_of(form)
        first = sum(h * w for h, w in level_map_sizes(*SIZE)) // 2
        for thing in range(3):
            outputs.box_scores[first + thing, thing] = 0.9 - 0.1 * thing
            outputs.boxes[first + thing] = torch.tensor([8.0 + 50 * thing, 20, 60 + 50 * thing, 100])
        again = outputs
        if hasattr(outputs, "semantic_logits"):  # of all classes, in their order
            again = outputs._replace(semantic_logits=outputs.semantic_logits[list(order)])
        expected, found = (results(form, o, c) for o, c in ((outputs, own), (again, mixed)))
        assert [classes[s.class_id].name for s in things(expected[0])] == [
            mixed.label_set.classes[s.class_id].name for s in things(found[0])
        ]
        assert torch.equal(found[1].masks, expected[1].masks) and expected[1].masks.any()
        assert [order[i] for i in found[1].class_ids.tolist()] == expected[1].class_ids.tolist()
