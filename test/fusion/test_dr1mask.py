# SPDX-License-Identifier: Apache-2.0
"""DR1Mask's fusion on made-up outputs: the unified softmax, masks in crops, and the rules for boxes and scores."""

import dataclasses

import pytest
import torch

from yoso_ros.errors import InputError
from yoso_ros.evaluation.average_precision import AveragePrecision, predicted_instances, true_instances
from yoso_ros.fusion import FUSIONS
from yoso_ros.fusion.dr1mask import find_boxes
from yoso_ros.models import create_model, load_config
from yoso_ros.models.dr1mask.network import OUTPUTS

FUSION = FUSIONS["dr1mask"]
CONFIG = dataclasses.replace(
    load_config("dr1mask_mobilenetv2_synthetic"), stuff_area_limit=16
)  # 0..2 stuff, 3..5 things
SIZE = (64, 96)
LOCATIONS = 8 * 12 + 4 * 6 + 2 * 3 + 2 + 1


def scene(boxes, stuff=(1.0, 0.0, 0.0), mode="panoptic", attention="vector"):
    """Outputs of (x1, y1, x2, y2, thing 0..2, class probability, logit of the mask everywhere) and logits of stuff."""
    fields = {
        "box_scores": torch.zeros(LOCATIONS, 3),
        "boxes": torch.zeros(LOCATIONS, 4),
        "centerness": torch.ones(LOCATIONS),
        "embeddings": torch.zeros(LOCATIONS, 32),
        "basis": torch.zeros(32, 16, 24),
        "stuff_logits": torch.tensor(stuff)[:, None, None].expand(3, 16, 24).clone(),
        "attention_components": torch.ones(2, 4, 4, 14),
    }
    fields["basis"][0] = 1.0
    if attention == "factored":  # the first of four projections takes the first map, each of its four factors is 1/4
        fields["embeddings"] = torch.zeros(LOCATIONS, 4 * 36)
        fields["embeddings"][:, 128:132] = 0.25
    if attention == "full":
        fields["basis"], fields["embeddings"] = torch.zeros(4, 16, 24), torch.zeros(LOCATIONS, 4 * 196)
    for place, (*box, thing, score, logit) in enumerate(boxes):
        fields["boxes"][place], fields["box_scores"][place, thing] = torch.tensor(box), score
        if attention == "full":  # even attentions: the mean of the maps
            fields["basis"][:] = logit
        else:
            fields["embeddings"][place, 0] = logit
    kind = OUTPUTS[mode, attention == "factored"]
    return kind(*(fields[name] for name in kind._fields))


def variant(mode, attention, **changes):
    return dataclasses.replace(CONFIG, mode=mode, attention=attention, **changes)


def test_one_softmax_decides_and_an_instance_ends_at_its_box():
    outputs = scene([(16, 8, 48, 40, 1, 0.81, 3.0)])
    outputs.stuff_logits[2, :, 12:] = 2.0
    merged = FUSION.merge(outputs, SIZE, SIZE, CONFIG)
    thing, first, second = merged.segments
    assert (thing.class_id, thing.is_thing, first.class_id, second.class_id) == (4, True, 0, 2)
    assert thing.score == pytest.approx(0.9)  # root of class times centerness
    assert (merged.segment_map[10:38, 18:46] == 1).all()
    outside = merged.segment_map.clone()
    outside[2:46, 10:54] = 0
    assert not (outside == 1).any()
    inside = torch.tensor([1.0, 0.0, 0.0, 3.0]).softmax(0)[3].item()
    assert merged.confidence[24, 30] == round(255 * 0.9 * inside)
    # Stuff of 1 against 0 and 0 at the left, of 2 at the right: its score is the mean probability of its pixels.
    assert merged.confidence[60, 10] == round(255 * torch.tensor([1.0, 0.0, 0.0]).softmax(0)[0].item())
    assert second.score == pytest.approx(torch.tensor([1.0, 0.0, 2.0]).softmax(0)[2].item(), abs=0.02)
    assert FUSION.semantic(outputs, SIZE, SIZE, CONFIG)[24, 30] == 4


def test_between_two_instances_the_greater_logit_wins_whatever_the_scores():
    boxes = [(8, 8, 56, 56, 0, 0.9, 2.0), (40, 8, 88, 56, 0, 0.5, 4.0)]
    merged = FUSION.merge(scene(boxes), SIZE, SIZE, CONFIG)
    assert merged.segment_map[30, 48] == 2 and merged.segment_map[30, 20] == 1
    # The first wins 5/8 of what it covers: dropped when more is asked for, and then no rival of the other.
    strict = dataclasses.replace(CONFIG, overlap_threshold=0.8)
    assert [s.score for s in FUSION.merge(scene(boxes), SIZE, SIZE, strict).segments if s.is_thing] == [
        pytest.approx(0.5**0.5)
    ]
    # An instance that loses to stuff everywhere is not there at all; a small stuff is void.
    faint = FUSION.merge(scene([(8, 8, 56, 56, 0, 0.9, 0.5)]), SIZE, SIZE, CONFIG)
    assert [s.class_id for s in faint.segments] == [0]
    picky = dataclasses.replace(CONFIG, stuff_area_limit=64 * 96 + 1)
    assert not FUSION.merge(scene([]), SIZE, SIZE, picky).segment_map.any()


def test_boxes_end_after_the_last_pixel_and_are_suppressed_within_their_class():
    boxes = [(-5, -5, 300, 300, 0, 0.9, 1.0), (0, 0, 96, 62, 0, 0.8, 1.0), (0, 0, 96, 62, 2, 0.7, 1.0)]
    found = find_boxes(scene(boxes), SIZE, CONFIG)
    assert found.boxes.tolist() == [[0, 0, 96, 64], [0, 0, 96, 62]] and found.classes.tolist() == [0, 2]
    assert len(find_boxes(scene([(0, 0, 9, 9, 0, 0.04, 1.0)]), SIZE, CONFIG).scores) == 0


@pytest.mark.parametrize("attention", ["vector", "full", "factored"])
def test_masks_of_mode_instance(attention):
    config = variant("instance", attention)
    outputs = scene([(20, 10, 61, 64, 2, 0.81, 2.0)], mode="instance", attention=attention)
    found = FUSION.instances(outputs, SIZE, (128, 192), config)
    expected = torch.zeros(128, 192, dtype=torch.bool)
    expected[20:128, 40:122] = True
    assert torch.equal(found.masks[0], expected) and found.class_ids.tolist() == [5]
    merged = FUSION.merge(outputs, SIZE, (128, 192), config)
    assert torch.equal(merged.segment_map == 1, expected) and len(merged.segments) == 1
    assert merged.confidence[60, 60] == round(255 * 0.9 * torch.tensor(2.0).sigmoid().item())
    assert not FUSION.instances(outputs._replace(basis=-outputs.basis), SIZE, SIZE, config).masks.any()
    with pytest.raises(ValueError, match="no semantic map"):
        FUSION.semantic(outputs, SIZE, SIZE, config)
    # Its mask AP, by the measurement that every network has: perfect, and 0 for a mask of half the size.
    categories = [{"id": i, "name": c.name, "isthing": int(c.is_thing)} for i, c in enumerate(config.label_set.classes)]
    segments = [{"id": 1, "category_id": 5}]
    for truth, wanted in ((expected, 100.0), (expected & (torch.arange(192) < 79), 0.0)):
        precision = AveragePrecision(categories)
        truths = true_instances(truth.int().numpy(), segments, categories)
        precision.update(1, predicted_instances(found, range(6)), truths)
        assert precision.compute()["AP"] == pytest.approx(wanted, abs=0.1)


def test_panoptic_maps_with_factored_attention_are_those_of_vectors_where_it_is_even():
    boxes = [(16, 8, 48, 40, 1, 0.81, 3.0), (40, 8, 88, 56, 0, 0.5, 4.0)]
    expected = FUSION.merge(scene(boxes), SIZE, SIZE, CONFIG)
    found = FUSION.merge(scene(boxes, attention="factored"), SIZE, SIZE, variant("panoptic", "factored"))
    assert torch.equal(found.segment_map, expected.segment_map) and found.segments == expected.segments


def test_configurations_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="attention: expected vector or factored in mode panoptic, found 'full'"):
        variant("panoptic", "full")
    with pytest.raises(InputError, match="basis_width: expected at least 1, found 0"):
        variant("panoptic", "vector", basis_width=0)
    things = dataclasses.replace(CONFIG.label_set, classes=CONFIG.label_set.classes[3:])
    with pytest.raises(InputError, match="with things and stuff, found 3 things of 3"):
        create_model(variant("panoptic", "vector", label_set=things))
    create_model(variant("instance", "vector", label_set=things))
