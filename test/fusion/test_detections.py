# SPDX-License-Identifier: Apache-2.0
"""Selection of boxes: suppression equal to the one-box-at-a-time form, candidates per level, ties, limits."""

import pytest
import torch

from yoso_ros.fusion.detections import (
    SUPPRESSION_BLOCK,
    best_with_ties,
    clip_boxes,
    find_candidates,
    non_maximum_suppression,
    pairwise_iou,
)


def literal_suppression(boxes, scores, threshold, groups=None):
    """One box after the other, each against all that are kept."""
    kept = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        rivals = [j for j in kept if groups is None or groups[i] == groups[j]]
        if not rivals or not (pairwise_iou(boxes[rivals], boxes[i : i + 1]) > threshold).any():
            kept.append(i)
    return kept


def crowd(count, seed):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 120
    boxes = torch.cat([corner, corner + 5 + torch.rand(count, 2, generator=generator) * 60], 1)
    # Coarse scores, so that many are equal.
    scores = torch.randint(0, 40, (count,), generator=generator) / 40
    return boxes, scores, torch.randint(0, 3, (count,), generator=generator)


@pytest.mark.parametrize("count", [0, 1, 60, SUPPRESSION_BLOCK, 2 * SUPPRESSION_BLOCK + 100])
@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.97])
def test_suppression_is_the_greedy_one(count, threshold):
    boxes, scores, groups = crowd(count, count)
    assert non_maximum_suppression(boxes, scores, threshold).tolist() == literal_suppression(boxes, scores, threshold)
    kept = non_maximum_suppression(boxes, scores, threshold, groups)
    assert kept.tolist() == literal_suppression(boxes, scores, threshold, groups)


def test_suppression_equals_torchvision():
    ops = pytest.importorskip("torchvision.ops", reason="torchvision is not installed")
    boxes, scores, groups = crowd(700, 5)
    scores = scores + torch.rand(700) * 1e-3
    assert torch.equal(non_maximum_suppression(boxes, scores, 0.6), ops.nms(boxes, scores, 0.6))
    assert torch.equal(non_maximum_suppression(boxes, scores, 0.6, groups), ops.batched_nms(boxes, scores, groups, 0.6))


def test_only_a_strictly_greater_overlap_suppresses():
    boxes = torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 4], [0, 0, 8, 4.1], [3, 3, 3, 3], [3, 3, 3, 3]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5])
    # The second has IoU 0.5 with the first and stays; the two without area have 0/0 with each other and stay.
    assert non_maximum_suppression(boxes, scores, 0.5).tolist() == [0, 1, 3, 4]


def test_a_suppressed_box_suppresses_nobody():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 16, 10], [0, 0, 24, 10]])
    assert non_maximum_suppression(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.6).tolist() == [0, 2]


def test_ties_at_the_limit_are_all_kept():
    scores = torch.tensor([0.5, 0.9, 0.5, 0.5, 0.1])
    assert best_with_ties(scores, 2).tolist() == [True, True, True, True, False]
    assert best_with_ties(scores, 1).tolist() == [False, True, False, False, False]
    assert best_with_ties(scores, 9).all()


def candidates(class_scores, centerness, level_sizes=(4, 2), **options):
    boxes = torch.arange(6.0)[:, None].expand(6, 4)
    options = {"threshold": 0.25, "limit": 1000, **options}
    return find_candidates(torch.tensor(class_scores), torch.tensor(centerness), boxes, level_sizes, **options)


SCORES = [[0.3, 0.9], [0.25, 0.0], [0.26, 0.0], [0.0, 0.5], [0.2, 0.3], [0.0, 0.8]]
CENTERNESS = [0.5, 1.0, 0.1, 1.0, 0.9, 0.25]


def test_class_probability_alone_meets_the_threshold_and_the_score_is_the_product():
    found = candidates(SCORES, CENTERNESS)
    assert list(zip(found.locations.tolist(), found.classes.tolist(), strict=True)) == [
        (3, 1), (0, 1), (0, 0), (2, 0), (4, 1), (5, 1)
    ]  # fmt: skip
    torch.testing.assert_close(found.scores, torch.tensor([0.5, 0.45, 0.15, 0.026, 0.27, 0.2]))
    assert torch.equal(found.boxes[:, 0], found.locations.float())


def test_product_and_root_as_options():
    found = candidates(SCORES, CENTERNESS, threshold_on="product", root=True)
    assert found.locations.tolist() == [3, 0, 4]
    torch.testing.assert_close(found.scores, torch.tensor([0.5, 0.45, 0.27]).sqrt())


def test_limit_counts_each_level_by_itself():
    found = candidates(SCORES, CENTERNESS, limit=1)
    assert found.locations.tolist() == [3, 4]


def test_what_is_not_finite_is_no_candidate():
    nan = float("nan")
    found = candidates([[nan, 0.9], [0.5, 0.5], *SCORES[2:]], [1.0, nan, *CENTERNESS[2:]])
    assert 1 not in found.locations.tolist()
    assert (0, 0) not in zip(found.locations.tolist(), found.classes.tolist(), strict=True)


def test_boxes_are_clipped_to_the_last_pixel():
    boxes = torch.tensor([[-5.0, -1, 700, 30], [800, 2, 900, 9]])
    assert clip_boxes(boxes, (24, 600)).tolist() == [[0, 0, 599, 23], [599, 2, 599, 9]]
