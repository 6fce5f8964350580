# SPDX-License-Identifier: Apache-2.0
"""The merge for one device, here on CPU tensors, against the merge of the CPU: ids, confidence and segments."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from panoptic_scenes import CLASSES, THINGS, random_scene
from test_mask_classification import golden_case, random_case  # noqa: F401 - a fixture

from yoso_ros.fusion import merge_mask_classification
from yoso_ros.fusion.on_device import host_result, merge_on_device
from yoso_ros.results import MAX_INSTANCES, panoptic_result


def label_set(thing_ids, classes):
    labels = tuple(SimpleNamespace(name=f"class {i}", is_thing=i in thing_ids) for i in range(classes))
    return SimpleNamespace(classes=labels, thing_ids=tuple(thing_ids))


def on_device(classes, masks, input_size, output_size, config, device="cpu"):
    things = torch.zeros(classes.shape[1], dtype=torch.bool)
    things[list(config.label_set.thing_ids)] = True
    merged = merge_on_device(
        classes.to(device),
        masks.to(device),
        input_size,
        output_size,
        score_threshold=torch.tensor(config.score_threshold, dtype=torch.float32, device=device),
        overlap_threshold=torch.tensor(config.overlap_threshold, dtype=torch.float64, device=device),
        is_thing=things.to(device),
    )
    return host_result(*(t.cpu().numpy() for t in merged), config.label_set)


def assert_equal_results(actual, expected, pixels=0):
    assert actual.panoptic.dtype == np.uint16 and actual.semantic.dtype == actual.confidence.dtype == np.uint8
    assert (actual.panoptic != expected.panoptic).sum() <= pixels
    assert np.array_equal(actual.panoptic >> 8, actual.semantic)
    assert (actual.confidence != expected.confidence).sum() <= pixels
    if not pixels:
        for a, e in zip(actual.segments, expected.segments, strict=True):
            assert dataclasses.replace(a, centroid_xy=None) == dataclasses.replace(e, centroid_xy=None)
            assert a.centroid_xy == pytest.approx(e.centroid_xy, abs=1e-9)


def compare(classes, masks, input_size, output_size, config):
    things = config.label_set.thing_ids
    config = SimpleNamespace(**{**vars(config), "label_set": label_set(things, classes.shape[1] - 1)})
    merged = merge_mask_classification(classes, masks, input_size, output_size, config)
    expected = panoptic_result(merged, config.label_set)
    assert_equal_results(on_device(classes, masks, input_size, output_size, config), expected)
    return expected.segments


@pytest.mark.parametrize("block", range(8))
def test_random_cases_equal_the_merge_of_the_cpu(block):
    found = 0
    for seed in range(20 * block, 20 * block + 20):
        (classes, masks), input_size, output_size, config = random_case(seed)
        found += len(compare(classes, masks, input_size, output_size, config))
    assert found > 20, "the cases of this block are too empty to tell anything"


@pytest.mark.parametrize("output_size", [(470, 611), (300, 333)])
def test_golden_case_equals_the_merge_of_the_cpu(golden_case, output_size):  # noqa: F811
    classes, masks, config, _, _ = golden_case
    assert len(compare(classes, masks, (470, 611), output_size, config)) >= 4


def test_what_is_not_kept_may_be_no_number():
    classes, masks = random_scene(np.random.default_rng(2), 9, (24, 24), "cells")
    classes[:, -1] = -9.0
    classes[3, -1], masks[3, 2:9] = 99.0, float("nan")
    config = SimpleNamespace(score_threshold=0.1, overlap_threshold=0.2, label_set=label_set(THINGS, CLASSES))
    assert len(compare(classes, masks, (96, 90), (96, 90), config)) > 2


def test_more_proposals_than_ids_are_refused():
    count = MAX_INSTANCES + 1
    config = SimpleNamespace(score_threshold=0.1, overlap_threshold=0.2, label_set=label_set((1,), 4))
    with pytest.raises(ValueError, match="at most 255 proposals, found 256"):
        on_device(torch.zeros(count, 5), torch.zeros(count, 8, 8), (32, 32), (32, 32), config)


def test_shapes_of_all_tensors_are_the_same_for_any_input():
    """What a CUDA graph needs: no operator sees or makes a tensor whose shape depends on values."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Shapes(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            outputs = function(*args, **(kwargs or {}))
            assert function not in (torch.ops.aten.nonzero.default, torch.ops.aten._local_scalar_dense.default)
            self.seen.append((str(function), [tuple(t.shape) for t in torch.utils._pytree.tree_leaves(outputs)]))
            return outputs

    recorded = []
    for kind in ("cells", "void", "hidden"):
        classes, masks = random_scene(np.random.default_rng(4), 12, (16, 16), kind)
        mode = Shapes()
        mode.seen = []
        things = torch.zeros(CLASSES + 1, dtype=torch.bool)
        thresholds = torch.tensor(0.2), torch.tensor(0.5, dtype=torch.float64)
        with mode:
            merge_on_device(
                classes,
                masks,
                (60, 60),
                (80, 80),
                score_threshold=thresholds[0],
                overlap_threshold=thresholds[1],
                is_thing=things,
            )
        recorded.append(mode.seen)
    assert recorded[0] == recorded[1] == recorded[2] and len(recorded[0]) > 50


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("seed", range(4))
def test_cuda_equals_the_cpu(seed):
    """Other rounding on the device may move single pixels of a border, not more."""
    (classes, masks), input_size, output_size, config = random_case(20 * seed)
    config.label_set = label_set(config.label_set.thing_ids, CLASSES)
    expected = on_device(classes, masks, input_size, output_size, config)
    assert_equal_results(on_device(classes, masks, input_size, output_size, config, "cuda"), expected, pixels=20)
