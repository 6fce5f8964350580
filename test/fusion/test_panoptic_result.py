# SPDX-License-Identifier: Apache-2.0
"""The result of a frame from a merge: ids, areas, boxes and centroids against a slow reference."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from panoptic_scenes import merge_config, random_scene
from patience import PATIENCE_S

from yoso_ros.fusion import MergedSegment, MergedSegments, merge_mask_classification
from yoso_ros.results import MAX_INSTANCES, UNLABELLED_ID, panoptic_result

LABELS = SimpleNamespace(classes=tuple(SimpleNamespace(name=f"class {i}") for i in range(255)))


def merged_from(segment_map, classes, things, scores):
    """A merge with segments 1..K of the given classes; confidence 200 wherever there is one."""
    area = np.bincount(segment_map.ravel(), minlength=len(classes) + 1)
    segments = [
        MergedSegment(i + 1, c, t, s, int(area[i + 1]))
        for i, (c, t, s) in enumerate(zip(classes, things, scores, strict=True))
    ]
    confidence = np.where(segment_map > 0, 200, 0).astype(np.uint8)
    return MergedSegments(torch.from_numpy(segment_map), segments, torch.from_numpy(confidence))


def random_merge(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 60, 2)
    count = int(rng.integers(0, 12))
    small = rng.integers(0, count + 1, (-(-height // 5), -(-width // 5))).astype(np.int32)
    if seed % 3 == 0:
        small = rng.integers(0, count + 1, (height, width)).astype(np.int32)
    segment_map = np.kron(small, np.ones((5, 5), np.int32))[:height, :width] if seed % 3 else small
    things, classes, used = [], [], set()
    for _ in range(count):
        class_id = int(rng.choice([0, 1, 2, 100, 253, 254]))
        thing = class_id % 2 == 0 or class_id in used  # stuff has one segment per class
        used.add(class_id)
        classes.append(class_id + (1 if thing and class_id % 2 else 0))
        things.append(classes[-1] % 2 == 0)
    stuff = [c for c, t in zip(classes, things, strict=True) if not t]
    assert len(stuff) == len(set(stuff))
    return merged_from(np.ascontiguousarray(segment_map), classes, things, rng.random(count).tolist())


@pytest.mark.parametrize("seed", range(60))
def test_maps_and_segments_against_slow_reference(seed):
    merged = random_merge(seed)
    result = panoptic_result(merged, LABELS, {"preprocess": 1.0})
    assert (result.panoptic.dtype, result.semantic.dtype, result.confidence.dtype) == (np.uint16, np.uint8, np.uint8)
    assert result.panoptic.shape == tuple(merged.segment_map.shape) and result.timings_ms == {"preprocess": 1.0}
    np.testing.assert_array_equal(result.panoptic >> 8, result.semantic)
    segment_map, numbers, expected = merged.segment_map.numpy(), {}, {}
    panoptic = np.full(segment_map.shape, UNLABELLED_ID, np.uint16)
    for s in merged.segments:
        numbers[s.class_id] = numbers.get(s.class_id, 0) + 1
        instance = numbers[s.class_id] if s.is_thing else 0
        y, x = np.nonzero(segment_map == s.id)
        panoptic[y, x] = s.class_id * 256 + instance
        if len(y):
            box = (x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1)
            expected[s.class_id * 256 + instance] = (s, instance, len(y), box, (x.mean(), y.mean()))
    np.testing.assert_array_equal(result.panoptic, panoptic)
    np.testing.assert_array_equal(result.confidence, np.where(panoptic == UNLABELLED_ID, 0, 200))
    assert {s.id for s in result.segments} == set(expected) == set(np.unique(panoptic)) - {UNLABELLED_ID}
    assert len(result.segments) == len(expected)
    assert [s.area for s in result.segments] == sorted((s.area for s in result.segments), reverse=True)
    for s in result.segments:
        source, instance, area, box, centroid = expected[s.id]
        assert (s.class_id, s.is_thing, s.instance_id, s.score) == (
            source.class_id,
            source.is_thing,
            instance,
            source.score,
        )
        assert (s.class_name, s.area, s.box_xywh) == (f"class {s.class_id}", area, box)
        assert s.centroid_xy == pytest.approx(centroid, rel=1e-12)
        assert all(type(v) is int for v in (s.id, s.area, *s.box_xywh))


def test_things_beyond_the_id_rule_become_unlabelled():
    count = MAX_INSTANCES + 5
    segment_map = np.arange(1, count + 1, dtype=np.int32).reshape(20, 13)
    scores = np.random.default_rng(1).permutation(count) / count
    result = panoptic_result(merged_from(segment_map, [7] * count, [True] * count, scores.tolist()), LABELS)
    dropped = scores < 5 / count
    np.testing.assert_array_equal(result.panoptic.ravel() == UNLABELLED_ID, dropped)
    np.testing.assert_array_equal(result.confidence.ravel() == 0, dropped)
    assert (result.semantic.ravel()[dropped] == 255).all()
    assert sorted(s.instance_id for s in result.segments) == list(range(1, MAX_INSTANCES + 1))
    assert (np.diff(result.panoptic.ravel()[~dropped].astype(int)) == 1).all(), "numbered in the order of the merge"


def test_nothing_found():
    result = panoptic_result(merged_from(np.zeros((3, 4), np.int32), [], [], []), LABELS)
    assert result.segments == [] and result.timings_ms == {}
    assert (
        (result.panoptic == UNLABELLED_ID).all() and (result.semantic == 255).all() and (result.confidence == 0).all()
    )


def test_of_a_real_merge():
    classes, masks = random_scene(np.random.default_rng(2), 20, (64, 80), "cells")
    classes[:, :-1] += 6.0
    merged = merge_mask_classification(classes, masks, (250, 300), (360, 432), merge_config(0.2, 0.3))
    result = panoptic_result(merged, LABELS)
    assert len(result.segments) == len(merged.segments) >= 4
    ids, counts = np.unique(result.panoptic[result.panoptic != UNLABELLED_ID], return_counts=True)
    assert dict(zip(ids.tolist(), counts.tolist(), strict=True)) == {s.id: s.area for s in result.segments}
    assert sorted(s.area for s in merged.segments) == sorted(s.area for s in result.segments)
    np.testing.assert_array_equal(result.confidence > 0, result.panoptic != UNLABELLED_ID)


def test_results_need_no_torch():
    code = "import sys; import yoso_ros.results; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=PATIENCE_S).returncode == 0
