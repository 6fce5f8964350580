# SPDX-License-Identifier: Apache-2.0
"""The merge against the authors' golden maps and against the literal reference, pixel for pixel."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from panoptic_scenes import CLASSES, KINDS, even_sigmoid, merge_config, random_scene, soft_scene
from torch.nn import functional

from yoso_ros.benchmark.literal_merge import literal_merge, literal_panoptic_map
from yoso_ros.fusion import bilinear, dense, mask_classification, merge_mask_classification, tiled


def assert_equal(merged, expected_map, expected_segments):
    np.testing.assert_array_equal(np.asarray(merged.segment_map), np.asarray(expected_map))
    assert merged.segment_map.dtype == torch.int32
    assert [(s.id, s.class_id, s.is_thing) for s in merged.segments] == expected_segments
    areas = np.bincount(np.asarray(expected_map).ravel(), minlength=len(expected_segments) + 1)[1:]
    assert [s.area for s in merged.segments] == areas.tolist()


@pytest.fixture(scope="module", params=["coco", "ade20k"])
def golden_case(request, golden):
    specification = importlib.util.spec_from_file_location("golden_fill", golden / "fill.py")
    fill = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(fill)
    metadata = json.loads((golden / "metadata.json").read_text())[request.param]
    config = merge_config(
        metadata["object_mask_threshold"], metadata["overlap_threshold"], metadata["thing_contiguous_ids"]
    )
    classes, masks = fill.synthetic_outputs(
        metadata["num_proposals"], metadata["num_classes"], 0, metadata["thing_contiguous_ids"]
    )
    expected = np.load(golden / f"golden_{request.param}.npz")["syn_panoptic_seg"]
    segments = json.loads((golden / f"golden_{request.param}.json").read_text())["syn"]
    segments = [(s["id"], s["category_id"], s["isthing"]) for s in segments]
    return torch.from_numpy(classes), torch.from_numpy(masks), config, expected, segments


def merge_full_size_masks(class_logits, mask_logits, config):
    """The merge of mask logits (N, H, W) that already have the size of the output, as the golden ones have."""
    size = tuple(mask_logits.shape[1:])

    def compete(scores, kept):
        return dense.DenseCompetition(scores, mask_logits.index_select(0, kept), lambda part: part, size)

    return mask_classification._merge(class_logits, size, config, compete)


def test_golden_synthetic_case(golden_case):
    """The authors' panoptic inference itself, fed with masks of output size."""
    classes, masks, config, expected, segments = golden_case
    assert_equal(merge_full_size_masks(classes, masks, config), expected, segments)
    literal_map, literal_segments = literal_panoptic_map(classes, masks, config)
    np.testing.assert_array_equal(literal_map.numpy(), expected)
    assert literal_segments == segments


@pytest.mark.parametrize("output_size", [(480, 640), (470, 611), (300, 333), (720, 1000)])
def test_golden_synthetic_masks_as_stride_4_map(golden_case, output_size):
    classes, masks, config, _, _ = golden_case
    input_size = (470, 611)
    merged = merge_mask_classification(classes, masks, input_size, output_size, config)
    assert len(merged.segments) >= 4
    assert_equal(merged, *literal_merge(classes, masks, input_size, output_size, config))


def random_case(seed):
    """Scene, input size, output size and configuration of a random case; a third is too small for tiles."""
    rng = np.random.default_rng(seed)
    proposals = 1 if seed % 10 == 9 else int(rng.integers(2, 30))
    cells = 8 * rng.integers(1, 4 if seed % 3 == 0 else 9, 2)
    input_size = [int(4 * c - rng.integers(0, 32)) for c in cells]
    resize = seed % 4
    if seed % 25 == 0:
        input_size, resize = [1, 1], seed % 2
    shrink, grow = (0.3, 1.0), (1.0, 2.3)
    output_size = [
        (side, side, max(1, int(side * rng.uniform(*shrink))), int(side * rng.uniform(*grow)))[resize]
        for side in input_size
    ]
    config = merge_config(rng.choice([0.0, 0.2, 0.7, 0.9]), rng.choice([0.0, 0.5, 0.8]))
    return random_scene(rng, proposals, cells, KINDS[seed % len(KINDS)]), tuple(input_size), tuple(output_size), config


@pytest.mark.parametrize("block", range(10))
def test_random_cases_equal_the_literal_reference(block):
    found = 0
    for seed in range(20 * block, 20 * block + 20):
        (classes, masks), input_size, output_size, config = random_case(seed)
        merged = merge_mask_classification(classes, masks, input_size, output_size, config)
        expected_map, expected_segments = literal_merge(classes, masks, input_size, output_size, config, even_sigmoid)
        assert_equal(merged, expected_map, expected_segments)
        found += len(expected_segments)
    assert found > 20, "the cases of this block are too empty to tell anything"


def test_random_cases_take_both_ways(monkeypatch):
    """The 200 cases above exercise tiles and the dense way."""
    calls = {"tiles": 0, "dense": 0}

    def counted(name, function):
        def call(*args, **kwargs):
            calls[name] += 1
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(tiled.TiledCompetition, "__init__", counted("tiles", tiled.TiledCompetition.__init__))
    monkeypatch.setattr(dense.DenseCompetition, "__init__", counted("dense", dense.DenseCompetition.__init__))
    for seed in range(40):
        (classes, masks), input_size, output_size, config = random_case(seed)
        merge_mask_classification(classes, masks, input_size, output_size, config)
    assert calls["tiles"] >= 10 and calls["dense"] >= 10, calls


def test_faint_proposals_whose_pixels_decide_a_segment(monkeypatch):
    """They are left out at first and let in where somebody's fate is open; every map is that of the reference."""
    calls = []
    let_in = tiled.TiledCompetition.let_in
    monkeypatch.setattr(
        tiled.TiledCompetition, "let_in", lambda self, others: calls.append(others.sum()) or let_in(self, others)
    )
    for seed in range(40):
        rng = np.random.default_rng(seed)
        cells = [int(8 * c) for c in rng.integers(6, 14, 2)]
        classes, masks = soft_scene(rng, int(rng.integers(6, 25)), cells, step=0.5 * (seed % 3 == 0))
        input_size = tuple(int(4 * c - rng.integers(0, 32)) for c in cells)
        output_size = input_size if seed % 2 else tuple(int(side * rng.uniform(0.5, 1.8)) for side in input_size)
        arguments = classes, masks, input_size, output_size, merge_config(0.2, rng.choice([0.3, 0.5, 0.7, 0.8]))
        assert_equal(merge_mask_classification(*arguments), *literal_merge(*arguments, even_sigmoid))
    assert len(calls) >= 8 and sum(calls) >= 50, calls


@pytest.mark.parametrize("sizes", [((256, 320), (256, 320)), ((250, 311), (250, 311)), ((250, 311), (375, 466))])
def test_confidence_is_score_times_mask_probability(sizes):
    input_size, output_size = sizes
    rng = np.random.default_rng(3)
    classes, masks = random_scene(rng, 12, (64, 80), "cells")
    classes[:, :-1] += 2.0
    config = merge_config(0.1, 0.5)
    merged = merge_mask_classification(classes, masks, input_size, output_size, config)
    scores, labels = classes.softmax(-1).max(-1)
    kept = (labels != CLASSES) & (scores > config.score_threshold)
    maps = dense.resize_mask_logits(masks[kept].double(), input_size, output_size)
    best = (scores[kept][:, None, None] * maps.sigmoid()).amax(0)
    confidence, painted = merged.confidence.numpy(), merged.segment_map.numpy() > 0
    assert confidence.dtype == np.uint8 and painted.any() and not painted.all()
    assert (confidence[~painted] == 0).all() and (confidence[painted] >= 1).all()
    assert np.abs(confidence - 255 * best.numpy())[painted].max() <= 0.51


@pytest.mark.parametrize("output_size", [(250, 311), (375, 466)])
def test_tiles_that_one_proposal_fills_are_settled_without_pixels_and_change_nothing(monkeypatch, output_size):
    areas = []
    settle = tiled.TiledCompetition.settle

    def watched(self, settled, area):
        areas.append(int(area.sum()))
        settle(self, settled, area)

    monkeypatch.setattr(tiled.TiledCompetition, "settle", watched)
    classes, masks = random_scene(np.random.default_rng(11), 9, (64, 80), "cells")
    classes[:, :-1] += 3.0
    arguments = classes, 4 * masks, (250, 311), output_size, merge_config(0.1, 0.5)
    merged = merge_mask_classification(*arguments)
    assert len(areas) == 1 and areas[0] > 0.2 * output_size[0] * output_size[1]
    assert_equal(merged, *literal_merge(*arguments, even_sigmoid))
    monkeypatch.setattr("yoso_ros.fusion.mask_classification.SMALLEST_TILED_SIDE", 10**6)
    pixel_by_pixel = merge_mask_classification(*arguments)
    assert merged.segments == pixel_by_pixel.segments
    assert torch.equal(merged.confidence, pixel_by_pixel.confidence)


def test_faint_winner_has_confidence_one():
    classes = torch.full((1, 600), -1e-3)
    classes[0, 0] = 0.0
    merged = merge_mask_classification(classes, torch.ones(1, 32, 32), (128, 128), (128, 128), merge_config(0.0, 0.8))
    assert merged.segments[0].score < 0.5 / 255
    assert (merged.confidence == 1).all()


def test_winner_area_in_void_tiles_decides():
    """A proposal that is mostly hidden but wins far away, outside its mask, is kept: the authors count those pixels."""
    masks = torch.full((2, 64, 64), -14.0)
    masks[1] = -12.0
    masks[0, 48:, 48:] = -9.0
    masks[0, 8:16, 8:16], masks[1, 8:16, 8:14] = 4.0, 6.0
    classes = torch.tensor([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    config = merge_config(0.5, 0.8, thing_ids=(0, 1))
    merged = merge_mask_classification(classes, masks, (256, 256), (256, 256), config)
    assert_equal(merged, *literal_merge(classes, masks, (256, 256), (256, 256), config))
    assert [s.class_id for s in merged.segments] == [0, 1]
    masks[0, 48:, 48:] = -14.0
    merged = merge_mask_classification(classes, masks, (256, 256), (256, 256), config)
    assert [s.class_id for s in merged.segments] == [1]


@pytest.mark.parametrize("first", [True, False])
def test_ties_with_a_faint_proposal_go_to_the_first(first):
    """Around the small mask of another one a hidden proposal is just as faint; it is kept if those pixels are its."""
    hidden, hiding, other = masks = torch.full((3, 64, 64), -14.0)
    hidden[8:16, 8:16], hiding[8:16, 8:14] = 4.0, 6.0
    hidden[40:48, 40:48] = other[40:48, 40:48] = -1.0
    other[42:46, 42:46] = 5.0
    classes = torch.tensor([[9.0, 0.0, 0.0, 0.0], [0.0, 9.5, 0.0, 0.0], [0.0, 0.0, 9.0, 0.0]])
    order = [0, 1, 2] if first else [2, 1, 0]
    arguments = classes[order], masks[order], (256, 256), (256, 256), merge_config(0.5, 0.8, thing_ids=(0, 1, 2))
    merged = merge_mask_classification(*arguments)
    assert_equal(merged, *literal_merge(*arguments))
    assert (0 in [s.class_id for s in merged.segments]) == first


def test_mask_area_in_tiles_without_a_chance_decides():
    """A proposal whose large mask is covered by a stronger one is dropped, though it wins the rest of its mask."""
    masks = torch.full((2, 64, 64), -8.0)
    masks[0, :, :40], masks[1, :, :30] = 1.0, 9.0
    classes = torch.tensor([[2.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    config = merge_config(0.5, 0.5, thing_ids=(0, 1))
    merged = merge_mask_classification(classes, masks, (256, 256), (256, 256), config)
    assert_equal(merged, *literal_merge(classes, masks, (256, 256), (256, 256), config))
    assert [s.class_id for s in merged.segments] == [1]


def test_masks_that_overlap_everywhere_go_the_dense_way():
    rng = np.random.default_rng(5)
    classes = torch.from_numpy(rng.standard_normal((40, 10)).astype(np.float32))
    classes[:, 2] += 5.0
    masks = torch.from_numpy(rng.standard_normal((40, 40, 48)).astype(np.float32))
    config = merge_config(0.1, 0.0)
    assert tiled.compete_in_tiles(torch.full((40,), 0.9), masks, torch.arange(40), (150, 190), (150, 190), 0.0) is None
    merged = merge_mask_classification(classes, masks, (150, 190), (150, 190), config)
    assert_equal(merged, *literal_merge(classes, masks, (150, 190), (150, 190), config, even_sigmoid))


@pytest.mark.parametrize("chunk_elements", [1, 5 * 64 * 64])
def test_dense_chunks_do_not_change_the_map(monkeypatch, chunk_elements):
    monkeypatch.setattr(dense, "CHUNK_ELEMENTS", chunk_elements)
    classes, masks = random_scene(np.random.default_rng(6), 13, (16, 16), "ties")
    config = merge_config(0.0, 0.0)
    merged = merge_mask_classification(classes, masks, (60, 60), (63, 63), config)
    assert_equal(merged, *literal_merge(classes, masks, (60, 60), (63, 63), config, even_sigmoid))


@pytest.mark.parametrize("seed", range(12))
def test_tiled_resize_has_the_bits_of_interpolate(seed):
    rng = np.random.default_rng(seed)
    cells = [int(8 * c) for c in rng.integers(2, 12, 2)]
    input_size = tuple(int(4 * c - rng.integers(0, 32)) for c in cells)
    output_size = input_size if seed % 3 == 0 else tuple(int(side * rng.uniform(0.5, 2.2)) for side in input_size)
    logits = torch.from_numpy(rng.standard_normal((2, *cells)).astype(np.float32)) * 10
    rows, columns = (bilinear.axis_plan(cells[a], input_size[a], output_size[a], tiled.TILE) for a in (0, 1))
    row, column = (torch.arange(n) for n in (len(rows.reach), len(columns.reach)))
    row, column = row.repeat_interleave(len(columns.reach)), column.repeat(len(rows.reach))
    pairs = bilinear.upsample_tiles(logits, torch.ones_like(row), row, column, rows, columns)
    grid = pairs.view(tiled.TILE, len(rows.reach), -1, tiled.TILE).transpose(0, 1).flatten(0, 1).flatten(1)
    maps = functional.interpolate(logits[None], [4 * c for c in cells], mode="bilinear", align_corners=False)
    maps = maps[..., : input_size[0], : input_size[1]]
    maps = functional.interpolate(maps, output_size, mode="bilinear", align_corners=False)
    assert torch.equal(grid[: output_size[0], : output_size[1]], maps[0, 1])


def test_other_types_and_layouts_of_the_logits_give_the_same_map():
    classes, masks = random_scene(np.random.default_rng(4), 8, (32, 40), "cells")
    masks = masks.bfloat16()
    arguments = (128, 155), (128, 155), merge_config(0.2, 0.0)
    expected = literal_merge(classes, masks.float(), *arguments, even_sigmoid)
    columns_first = masks.float().transpose(1, 2).contiguous().transpose(1, 2)
    assert not columns_first.is_contiguous()
    for logits in (masks, columns_first):
        assert_equal(merge_mask_classification(classes, logits, *arguments), *expected)


def test_in_and_out_of_inference_mode():
    """Tables that are made in inference mode are used again outside it, on outputs that still carry gradients."""
    bilinear.axis_plan.cache_clear()
    classes, masks = random_scene(np.random.default_rng(4), 8, (32, 40), "cells")
    arguments = (128, 155), (140, 170), merge_config(0.0, 0.0)
    with torch.inference_mode():
        first = merge_mask_classification(classes, masks, *arguments)
    second = merge_mask_classification(classes.requires_grad_(), masks.requires_grad_(), *arguments)
    assert len(first.segments) > 1 and first.segments == second.segments
    np.testing.assert_array_equal(np.asarray(second.segment_map), np.asarray(first.segment_map))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("output_size", [(256, 311), (375, 466)])
def test_cuda_gives_the_same_segments(output_size):
    """Other rounding on the device may move single pixels of a border, not more."""
    classes, masks = random_scene(np.random.default_rng(3), 12, (64, 80), "cells")
    config = merge_config(0.1, 0.5)
    merged = merge_mask_classification(classes.cuda(), masks.cuda(), (256, 311), output_size, config)
    expected_map, expected_segments = literal_merge(classes, masks, (256, 311), output_size, config)
    assert merged.segment_map.is_cuda and merged.confidence.is_cuda
    assert [(s.id, s.class_id, s.is_thing) for s in merged.segments] == expected_segments
    assert (merged.segment_map.cpu() != expected_map).sum() <= 20


def test_not_a_number_does_no_harm():
    classes, masks = random_scene(np.random.default_rng(8), 6, (32, 32), "cells")
    classes[:, 1] += 9.0
    masks[0, 3, 4] = float("nan")
    merged = merge_mask_classification(classes, masks, (128, 128), (128, 128), merge_config(0.1, 0.0))
    assert merged.segment_map.shape == (128, 128)
    classes[2] = float("nan")
    merge_mask_classification(classes, masks, (128, 128), (100, 90), merge_config(0.1, 0.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(3, 5), torch.zeros(4, 8, 8), (32, 32), (32, 32)), r"\(3, 5\) and \(4, 8, 8\)"),
        ((torch.zeros(3, 5), torch.zeros(3, 8, 8), (33, 32), (32, 32)), r"within the padded size \(32, 32\)"),
        ((torch.zeros(3, 5), torch.zeros(3, 8, 8), (32, 32), (0, 32)), r"output_size .* got \(0, 32\)"),
    ],
)
def test_sizes_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        merge_mask_classification(*arguments, merge_config(0.5, 0.8))
