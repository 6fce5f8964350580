# SPDX-License-Identifier: Apache-2.0
"""Instances and semantic map against the authors' golden numbers, and against a literal reference in float64."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from panoptic_scenes import CLASSES, THINGS, merge_config, random_scene
from torch.nn import functional

from yoso_ros.fusion import dense, find_instances, find_semantic_map, instances, semantic
from yoso_ros.inference.preprocess import batch_frames
from yoso_ros.models import create_model, load_config
from yoso_ros.models.yoso.official_checkpoint import load_official_state_dict

CONFIG = merge_config(0.5, 0.8)


def literal_instances(class_logits, mask_logits, input_size, output_size, limit, things):
    """The rules one pair at a time, in float64: list of (score, class, proposal, mask), best first."""
    masks = literal_masks(mask_logits, input_size, output_size)
    probabilities = class_logits.double().softmax(-1)
    pairs = [(float(probabilities[n, c]), n, c) for n in range(len(masks)) for c in range(CLASSES)]
    found = []
    for probability, proposal, class_id in sorted(pairs, key=lambda pair: -pair[0])[:limit]:
        if class_id not in things:
            continue
        mask = masks[proposal] > 0
        mean = float(masks[proposal][mask].sigmoid().sum()) / (int(mask.sum()) + 1e-6)
        found.append((probability * mean, class_id, proposal, mask))
    return sorted(found, key=lambda instance: -instance[0])


def literal_masks(mask_logits, input_size, output_size):
    padded = [4 * side for side in mask_logits.shape[1:]]
    masks = functional.interpolate(mask_logits[None].double(), size=padded, mode="bilinear", align_corners=False)
    masks = masks[:, :, : input_size[0], : input_size[1]]
    return functional.interpolate(masks, size=output_size, mode="bilinear", align_corners=False)[0]


@pytest.mark.parametrize("seed", range(6))
def test_instances_equal_the_literal_reference(seed, monkeypatch):
    monkeypatch.setattr(dense, "CHUNK_ELEMENTS", 40000)  # so that masks come in several parts
    rng = np.random.default_rng(seed)
    classes, masks = random_scene(rng, 12, (16, 24), "cells")
    input_size = (61, 90)
    output_size = ((61, 90), (122, 180), (40, 77))[seed % 3]
    things_only, limit = seed % 2 == 0, (100, 20)[seed % 2]
    found = find_instances(classes, masks, input_size, output_size, CONFIG, limit, things_only)
    expected = literal_instances(
        classes, masks, input_size, output_size, limit, THINGS if things_only else range(CLASSES)
    )
    assert len(found.scores) == len(expected) > 5
    np.testing.assert_allclose(found.scores, [score for score, *_ in expected], rtol=2e-5, atol=1e-9)
    # Scores that are equal up to rounding may change places.
    by_pair = {(int(c), int(n)): i for i, (c, n) in enumerate(zip(found.class_ids, found.proposals, strict=True))}
    assert len(by_pair) == len(expected)
    for score, class_id, proposal, mask in expected:
        i = by_pair[class_id, proposal]
        assert float(found.scores[i]) == pytest.approx(score, rel=2e-5, abs=1e-9)
        assert (found.masks[i] != mask).sum() <= 1  # a logit within rounding of 0


def test_no_thing_and_empty_masks():
    classes = torch.full((3, CLASSES + 1), -5.0)
    classes[:, 0] = 5.0  # stuff in all three, and nothing else among the three best pairs
    masks = torch.ones(3, 8, 8)
    found = find_instances(classes, masks, (32, 32), (20, 30), CONFIG, limit=3)
    assert found.masks.shape == (0, 20, 30) and len(found.scores) == len(found.class_ids) == 0
    classes[1, 1] = 9.0
    found = find_instances(classes, -masks, (32, 32), (20, 30), CONFIG, limit=3)
    assert found.class_ids.tolist() == [1] and found.scores.tolist() == [0.0] and not found.masks.any()


@pytest.mark.parametrize("seed", range(3))
def test_semantic_map_equals_the_literal_reference(seed, monkeypatch):
    monkeypatch.setattr(dense, "CHUNK_ELEMENTS", 40000)
    classes, masks = random_scene(np.random.default_rng(seed), 12, (16, 24), "cells")
    sums = torch.zeros(CLASSES, 80, 100, dtype=torch.float64)
    probabilities = classes.double().softmax(-1)
    for proposal, mask in enumerate(literal_masks(masks, (61, 90), (80, 100)).sigmoid()):
        for class_id in range(CLASSES):
            sums[class_id] += probabilities[proposal, class_id] * mask
    found = find_semantic_map(classes, masks, (61, 90), (80, 100))
    assert found.dtype == torch.uint8 and len(found.unique()) >= 3
    best = sums.topk(2, dim=0).values
    clear = best[0] - best[1] > 1e-5
    assert clear.float().mean() > 0.98
    assert torch.equal(found[clear].long(), sums.argmax(0)[clear])


def load_fill(golden):
    specification = importlib.util.spec_from_file_location("golden_fill", golden / "fill.py")
    fill = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(fill)
    return fill


@pytest.mark.parametrize("name", ["coco", "ade20k"])
def test_golden_synthetic_case(name, golden, monkeypatch):
    """The authors' two functions themselves, fed with masks of output size."""
    fill = load_fill(golden)
    metadata = json.loads((golden / "metadata.json").read_text())[name]
    things, classes = metadata["thing_contiguous_ids"], metadata["num_classes"]
    arguments = map(torch.from_numpy, fill.synthetic_outputs(metadata["num_proposals"], classes, 0, things))
    for module in (instances, semantic):
        monkeypatch.setattr(module, "resize_mask_logits", lambda masks, input_size, output_size: masks.clone())
    arguments, size, stored = (*arguments,), (120, 160), np.load(golden / f"golden_{name}.npz")
    found = find_instances(*arguments, size, size, merge_config(0, 0, things), things_only=False)
    np.testing.assert_allclose(found.scores, stored["syn_inst_scores"], rtol=1e-5, atol=1e-9)
    strong = stored["syn_inst_scores"] > 0.01
    assert strong.sum() >= 11
    np.testing.assert_array_equal(found.class_ids[strong], stored["syn_inst_classes"][strong])
    np.testing.assert_array_equal(found.masks.sum((1, 2))[strong], stored["syn_inst_area"][strong])
    wrong = find_semantic_map(*arguments, size, size).numpy() != stored["syn_sem_argmax"]
    assert wrong.mean() < 1e-3


def test_golden_network_and_resizes(golden):
    """From the authors' network on a padded image, to its size and to another: all 100 pairs, stuff too."""
    fill = load_fill(golden)
    model = create_model(load_config("yoso_r50_coco")).eval()
    keys = json.loads((golden / "keys_coco.json").read_text())
    load_official_state_dict(model, {k: torch.from_numpy(np.asarray(fill.value(k, s))) for k, s, _ in keys})
    stored = np.load(golden / "golden_coco.npz")
    with torch.no_grad():
        outputs = model(batch_frames([fill.image(2, 250, 333)], model.config.pixel_mean, 32))
    for case, size in (("B", (250, 333)), ("C", (375, 500))):
        raw = outputs.class_logits[0], outputs.mask_logits[0], (250, 333), size
        found = find_instances(*raw, model.config, things_only=False)
        pairs = zip(found.proposals.tolist(), found.class_ids.tolist(), strict=True)
        found = dict(zip(pairs, zip(found.scores.tolist(), found.masks.sum((1, 2)).tolist(), strict=True), strict=True))
        names = ("query", "classes", "scores", "area")
        rows = list(zip(*(stored[f"{case}_inst_{name}"].tolist() for name in names), strict=True))
        # Pairs at the end of the list have nearly equal scores; a few may differ.
        both = [(*found[query, label], score, area) for query, label, score, area in rows if (query, label) in found]
        assert len(both) >= 97
        score, area, expected_score, expected_area = np.array(both).T
        np.testing.assert_allclose(score, expected_score, rtol=0.02, atol=1e-3)
        np.testing.assert_allclose(area, expected_area, rtol=0.01, atol=20)
        semantic_map = find_semantic_map(*raw).numpy()
        assert (semantic_map != stored[f"{case}_sem_argmax"]).mean() < 2e-3
