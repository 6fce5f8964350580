# SPDX-License-Identifier: Apache-2.0
"""RealTimePan's boxes and masks: equal to the one-by-one form, and what golden data do not notice, on made-up input."""

import dataclasses
import re

import pytest
import torch
from dense_box_scenes import CONFIG, scene

from yoso_ros.benchmark import dense_masks
from yoso_ros.benchmark.dense_masks import empty_detections, literal_masks, literal_scores
from yoso_ros.cli import main
from yoso_ros.fusion import FUSIONS, dense_boxes
from yoso_ros.fusion.dense_boxes import MaskConstruction, find_queries, location_score
from yoso_ros.fusion.detections import level_map_sizes
from yoso_ros.models import load_config
from yoso_ros.models.realtimepan.network import RealTimePanOutputs

FUSION = FUSIONS["realtimepan"]
SIZE = (128, 192)


def built(outputs, queries, input_size, output_size, config):
    """(masks bool (N, H, W), values float (N, H, W), 0 outside)."""
    masks = torch.zeros(len(queries.scores), output_size[0] * output_size[1])
    for part in MaskConstruction(queries, outputs, config).pixels(input_size, output_size):
        assert not masks[part.instances, part.pixels].any()  # no pixel twice
        masks[part.instances, part.pixels] = part.values
    masks = masks.view(-1, *output_size)
    return masks > 0, masks


@pytest.mark.parametrize("location", ["iou", "giou_smoothed"])
@pytest.mark.parametrize("levels", [1, 5])
@pytest.mark.parametrize("input_size", [(128, 192), (121, 187), (97, 33)])
def test_masks_equal_the_literal_ones(location, levels, input_size):
    config = dataclasses.replace(CONFIG, location_score=location)
    for seed in range(3):
        outputs, queries = scene(SIZE, 12, seed, levels=levels)
        masks, _ = built(outputs, queries, input_size, input_size, config)
        expected = torch.stack(list(literal_masks(outputs, queries, input_size, config)))
        assert expected.any()
        assert torch.equal(masks, expected)


def test_bounded_parts_give_the_same(monkeypatch):
    outputs, queries = scene(SIZE, 25, 7)
    whole = built(outputs, queries, SIZE, SIZE, CONFIG)[1]
    for name, value in (("MOST_PAIRS", 3000), ("MOST_GRID", 5000), ("MOST_CELLS", 37)):
        monkeypatch.setattr(dense_boxes, name, value)
    assert torch.equal(built(outputs, queries, SIZE, SIZE, CONFIG)[1], whole)


def test_other_output_size_is_one_bilinear_step():
    outputs, queries = scene(SIZE, 5, 3)
    output_size = (300, 211)
    _, values = built(outputs, queries, (120, 190), output_size, CONFIG)
    scores = torch.stack(list(literal_scores(outputs, queries, CONFIG)))
    y = ((torch.arange(300) + 0.5) * 120 / 300 / 4) / (SIZE[0] / 4) * 2 - 1
    x = ((torch.arange(211) + 0.5) * 190 / 211 / 4) / (SIZE[1] / 4) * 2 - 1
    points = torch.stack([x.expand(300, -1), y[:, None].expand(-1, 211)], -1)[None]
    expected = torch.nn.functional.grid_sample(scores[None], points, padding_mode="border", align_corners=False)[0]
    sure = (expected - CONFIG.mask_threshold).abs() > 1e-4
    assert torch.equal((values > 0)[sure], (expected >= CONFIG.mask_threshold)[sure])
    torch.testing.assert_close(values[values > 0], expected[values > 0], atol=1e-5, rtol=0)


def test_masks_are_not_cut_to_their_boxes():
    # Every pixel has the query's box, also those that lie far outside it.
    outputs, queries = flat_scene(box=(40.0, 40.0, 80.0, 80.0))
    found = FUSION.instances(outputs, SIZE, SIZE, CONFIG)
    assert found.boxes.tolist() == [[40, 40, 80, 80]]
    assert found.masks.all()


def flat_scene(box, class_id=3, probability=1.0, size=SIZE):
    """One query, and a map where every pixel has its box and a class with a probability."""
    scores, boxes, centerness = empty_detections(size, 3)
    boxes[5], scores[5, class_id - 3] = torch.tensor(box), 0.9
    dense = torch.tensor(box).view(4, 1, 1).expand(4, size[0] // 4, size[1] // 4).clone()
    semantic = torch.full((6, size[0] // 8, size[1] // 8), -1e4)
    semantic[class_id] = 0.0
    if probability < 1:
        semantic[0] = torch.tensor((1 - probability) / probability).log()
    outputs = RealTimePanOutputs(scores, boxes, centerness, dense, semantic)
    return outputs, find_queries(outputs, size, CONFIG)


def test_a_pixel_at_the_mask_threshold_belongs_to_the_mask():
    outputs, _ = flat_scene((40.0, 40.0, 80.0, 80.0), probability=0.5)
    at, above = (dataclasses.replace(CONFIG, mask_threshold=t) for t in (0.5, 0.5 + 1e-6))
    assert FUSION.instances(outputs, SIZE, SIZE, at).masks.all()
    assert not FUSION.instances(outputs, SIZE, SIZE, above).masks.any()


def test_the_class_threshold_is_strict_and_for_the_class_alone():
    scores, boxes, centerness = empty_detections(SIZE, 3)
    scores[3, 0], scores[90, 1], scores[200, 2] = 0.25, 0.2500001, 0.9
    centerness[90], centerness[200] = 0.01, 0.5
    boxes[90], boxes[200] = torch.tensor([50.0, 50, 90, 90]), torch.tensor([100.0, 0, 120, 20])
    outputs = RealTimePanOutputs(scores, boxes, centerness, *scene(SIZE, 0, 0)[0][3:])
    found = find_queries(outputs, SIZE, dataclasses.replace(CONFIG, class_threshold=0.25))
    assert found.locations.tolist() == [200, 90]
    torch.testing.assert_close(found.scores, torch.tensor([0.45, 0.002500001]))


def spread_boxes(outputs, count, step=3):
    """Boxes of side 2 that touch nobody, one per location."""
    width = SIZE[1] // step
    place = torch.arange(count)
    corner = torch.stack([place % width * step, place // width * step], 1).float()
    outputs.boxes[:count] = torch.cat([corner, corner + 2], 1)


def test_cap_of_the_kept_boxes_with_ties():
    outputs, _ = scene(SIZE, 0, 0)
    outputs.box_scores[:300, 1] = torch.linspace(0.9, 0.6, 300)
    outputs.box_scores[97:103, 1] = 0.8
    spread_boxes(outputs, 300)
    found = find_queries(outputs, SIZE, CONFIG)
    # The 100th score is shared by six, of which all are kept.
    assert len(found.scores) == 103
    assert found.locations.tolist()[:97] == list(range(97))


def test_best_thousand_of_each_level_only():
    size = (640, 640)
    config = dataclasses.replace(CONFIG, max_boxes=5000, nms_threshold=1.0, class_agnostic_nms_threshold=1.0)
    sizes = [h * w for h, w in level_map_sizes(*size)]
    scores, boxes, centerness = empty_detections(size, 3)
    scores[: sizes[0], 0] = torch.linspace(0.9, 0.1, sizes[0])
    scores[sizes[0] : sizes[0] + sizes[1], 0] = 0.09
    outputs = RealTimePanOutputs(scores, boxes, centerness, *scene(size, 0, 0)[0][3:])
    found = find_queries(outputs, size, config)
    # 6400 candidates on P3, of which the best 1000 stay; 1600 on P4, all equal, of which 1000.
    assert len(found.scores) == 2000
    assert found.locations[:1000].tolist() == list(range(1000))


def test_candidates_on_the_coarsest_level():
    sizes = [h * w for h, w in level_map_sizes(*SIZE)]
    outputs, _ = scene(SIZE, 0, 0)
    last = sum(sizes) - 1
    outputs.box_scores[last, 2], outputs.boxes[last] = 0.7, torch.tensor([-20.0, -20, 400, 400])
    found = find_queries(outputs, (120, 180), CONFIG)
    assert found.locations.tolist() == [last] and found.classes.tolist() == [2]
    assert found.boxes.tolist() == [[0, 0, 179, 119]]


def test_same_box_with_a_second_label_goes():
    outputs, _ = scene(SIZE, 0, 0)
    outputs.box_scores[4] = torch.tensor([0.9, 0.8, 0.0])
    outputs.box_scores[5, 2] = 0.6
    outputs.boxes[5] = torch.tensor([10.0, 10, 30, 26])  # IoU 0.8 with the others, of another class: stays
    outputs.box_scores[6, 0], outputs.boxes[6] = 0.5, torch.tensor([10.0, 10, 30, 28])  # 0.9 with its class: goes
    assert find_queries(outputs, SIZE, CONFIG).locations.tolist() == [4, 5]


def test_things_need_not_be_contiguous():
    classes = CONFIG.label_set.classes
    order = (3, 0, 4, 1, 5, 2)
    mixed = dataclasses.replace(CONFIG.label_set, classes=tuple(classes[i] for i in order))
    config = dataclasses.replace(CONFIG, label_set=mixed, score_threshold=0.0)
    assert mixed.thing_ids == (0, 2, 4)
    outputs, queries = scene(SIZE, 8, 2, config)
    expected = torch.stack(list(literal_masks(outputs, queries, SIZE, config)))
    assert torch.equal(built(outputs, queries, SIZE, SIZE, config)[0], expected)
    assert set(find_class_ids(outputs, config)) == {0, 2, 4}


def find_class_ids(outputs, config):
    for thing in range(3):
        outputs.box_scores[thing, thing], outputs.boxes[thing, :2] = 0.9, float(thing)
    return FUSION.instances(outputs, SIZE, SIZE, config).class_ids.tolist()


def test_location_scores():
    query = torch.tensor([0.0, 0, 10, 10])
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [20, 0, 30, 10], [3, 3, 3, 3]])
    torch.testing.assert_close(location_score(query[:, None], boxes.T, "iou"), torch.tensor([1.0, 0.5, 0.0, 0.0]))
    smoothed = location_score(query[:, None], boxes.T, "giou_smoothed")
    expected = [1.0, 51 / 101, 1 / 201 - 100 / 300, 1 / 101]
    torch.testing.assert_close(smoothed, torch.tensor(expected))
    nothing = torch.full((4, 1), 3.0)
    assert location_score(nothing, nothing, "iou").item() == 0.0


def test_large_boxes_are_compared_in_float32():
    outputs, queries = scene((512, 1024), 3, 5)
    half = outputs._replace(dense_boxes=outputs.dense_boxes.half(), semantic_logits=outputs.semantic_logits.half())
    masks, _ = built(half, queries, (512, 1024), (512, 1024), CONFIG)
    exact = literal_masks(type(half)(*(t.float() for t in half)), queries, (512, 1024), CONFIG)
    assert torch.equal(masks, torch.stack(list(exact)))


def test_other_label_sets_and_input_sizes_are_checked():
    outputs, _ = scene(SIZE, 2, 0)
    with pytest.raises(ValueError, match="input_size within"):
        FUSION.merge(outputs, (129, 100), SIZE, CONFIG)
    with pytest.raises(ValueError, match="output_size"):
        FUSION.merge(outputs, SIZE, (0, 10), CONFIG)
    assert load_config("realtimepan_r50_coco").label_set.thing_ids == tuple(range(80))


def test_benchmark_prints_ratio_and_memory_and_refuses_masks_that_differ(capsys, monkeypatch):
    command = ["benchmark", "masks", "--sizes", "64x96", "--instances", "9", "--rounds", "1"]
    assert main([*command, "--memory"]) == 0
    out = capsys.readouterr().out
    number = r" +([\d.]+)"
    found = re.search(rf"64x96 +9{5 * number}{number}x{number}x", out).groups()
    pixels, literal, _, own, _, ratio, _ = map(float, found)
    assert pixels > 0 and ratio == pytest.approx(literal / own, rel=0.3, abs=0.1)
    assert re.search(r"peak MB above the input: literal \d+, this package \d+", out)
    monkeypatch.setitem(dense_masks.FORMS, "literal", lambda *case: (~mask for mask in literal_masks(*case)))
    with pytest.raises(RuntimeError, match="pixels of a mask differ"):
        main(command)
    assert main([*command[:2], "--sizes", "33x64"]) == 2
    assert "multiples of 32, found 33x64" in capsys.readouterr().err
    assert main([*command, "--model", "yoso_r50_coco"]) == 2
