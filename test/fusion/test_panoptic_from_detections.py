# SPDX-License-Identifier: Apache-2.0
"""Fusion of detections and semantics: equal to the conventional rule written one instance after the other."""

import dataclasses

import pytest
import torch
from dense_box_scenes import CONFIG

from yoso_ros.benchmark.literal_detections import literal_fusion
from yoso_ros.fusion.panoptic_from_detections import MaskPixels, fuse_detections, joined_pixels

SIZE = (40, 50)


def random_case(seed):
    generator = torch.Generator().manual_seed(seed)
    count = int(torch.randint(0, 30, (), generator=generator))
    masks = torch.zeros((count, *SIZE), dtype=torch.bool)
    for mask in masks:
        (y, x), (h, w) = (
            torch.randint(0, 35, (2,), generator=generator),
            torch.randint(0, 25, (2,), generator=generator),
        )
        mask[y : y + h, x : x + w] = True
        mask &= torch.rand(SIZE, generator=generator) < 0.9
    values = 0.4 + 0.6 * torch.rand(masks.shape, generator=generator)
    scores = torch.rand(count, generator=generator).sort(descending=True).values
    class_ids = torch.randint(3, 6, (count,), generator=generator)
    coarse = torch.randint(0, 6, (5, 5), generator=generator, dtype=torch.uint8)
    semantic = coarse.repeat_interleave(8, 0).repeat_interleave(10, 1)
    return masks, values, scores, class_ids, semantic, torch.rand(SIZE, generator=generator)


def pixels_of(masks, values, shuffle):
    instances, pixels = masks.flatten(1).nonzero(as_tuple=True)
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0)) if shuffle else slice(None)
    return MaskPixels(instances[order].int(), pixels[order].int(), values[masks][order])


@pytest.mark.parametrize("seed", range(40))
def test_equals_the_literal_rule(seed):
    masks, values, scores, class_ids, semantic, confidence = random_case(seed)
    config = dataclasses.replace(
        CONFIG, score_threshold=(0.0, 0.3)[seed % 2], overlap_threshold=(0.5, 0.0, 0.9)[seed % 3], stuff_area_limit=90
    )
    expected = literal_fusion(masks, values, scores, class_ids, semantic, confidence, config)
    merged = fuse_detections(pixels_of(masks, values, seed % 2), scores, class_ids, semantic, confidence, config)
    assert torch.equal(merged.segment_map, expected[0])
    assert torch.equal(merged.confidence, expected[2])
    assert [s.id for s in merged.segments] == list(range(1, len(expected[1]) + 1))
    for segment, (class_id, score, area) in zip(merged.segments, expected[1], strict=True):
        assert (segment.class_id, segment.area) == (class_id, area)
        assert segment.score == pytest.approx(score, rel=1e-6)
        assert segment.is_thing == (class_id in config.label_set.thing_ids)


def test_a_dropped_instance_hides_nobody():
    masks = torch.zeros((3, *SIZE), dtype=torch.bool)
    masks[0, :10, :10] = masks[1, :10, 2:12] = masks[2, :10, 4:14] = True
    # The second keeps 2 of its 10 columns and goes; the third then keeps 4 of 10, and not 2.
    config = dataclasses.replace(CONFIG, overlap_threshold=0.4, score_threshold=0.0)
    values = torch.ones(masks.shape)
    scores, classes = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([3, 3, 3])
    semantic = torch.full(SIZE, 3, dtype=torch.uint8)
    merged = fuse_detections(pixels_of(masks, values, False), scores, classes, semantic, torch.ones(SIZE), config)
    assert [s.area for s in merged.segments] == [100, 40]
    assert (merged.segment_map > 0).sum() == 140  # semantics say a thing everywhere: the rest stays void


def test_nothing_at_all():
    masks = joined_pixels([])
    config = dataclasses.replace(CONFIG, stuff_area_limit=0)
    semantic = torch.full(SIZE, 4, dtype=torch.uint8)
    merged = fuse_detections(masks, torch.zeros(0), torch.zeros(0).long(), semantic, torch.ones(SIZE), config)
    assert merged.segments == [] and not merged.segment_map.any() and not merged.confidence.any()
