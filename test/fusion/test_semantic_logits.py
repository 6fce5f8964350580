# SPDX-License-Identifier: Apache-2.0
"""Semantic map of logits: the argmax of the resized logits, though most pixels are never resized."""

import pytest
import torch
from torch.nn import functional

from yoso_ros.fusion import semantic_logits
from yoso_ros.fusion.semantic_logits import semantic_confidence, semantic_map_of_logits


def blobs(classes, size, seed):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, classes, 4, 5, generator=generator)
    return functional.interpolate(coarse, size=size, mode="bicubic")[0] * 3 + torch.randn(
        classes, *size, generator=generator
    )


@pytest.mark.parametrize("input_size", [(96, 128), (89, 121), (8, 8), (3, 128)])
def test_equals_the_argmax_of_the_resized_logits(input_size, monkeypatch):
    monkeypatch.setattr(semantic_logits, "MOST_VALUES", 5000)
    logits = blobs(19, (12, 16), 0)
    full = functional.interpolate(logits[None], scale_factor=8, mode="bilinear", align_corners=False)[0]
    expected = full[:, : input_size[0], : input_size[1]].argmax(0)
    assert torch.equal(semantic_map_of_logits(logits, 8, input_size, input_size).long(), expected)


@pytest.mark.parametrize("output_size", [(200, 333), (48, 64), (5, 7), (1, 1)])
def test_other_output_sizes(output_size):
    logits = blobs(6, (12, 16), 1)
    y = (torch.arange(output_size[0]) + 0.5) * 90 / output_size[0] / 8 / 12 * 2 - 1
    x = (torch.arange(output_size[1]) + 0.5) * 125 / output_size[1] / 8 / 16 * 2 - 1
    points = torch.stack([x.expand(output_size[0], -1), y[:, None].expand(-1, output_size[1])], -1)[None]
    sampled = functional.grid_sample(logits[None], points, padding_mode="border", align_corners=False)[0]
    best = sampled.topk(2, 0).values
    sure = best[0] - best[1] > 1e-4
    assert torch.equal(semantic_map_of_logits(logits, 8, (90, 125), output_size)[sure].long(), sampled.argmax(0)[sure])


def test_confidence_is_the_probability_of_the_class():
    logits = torch.zeros(4, 3, 3)
    logits[2] = 2.0
    expected = logits.softmax(0)[2, 0, 0]
    torch.testing.assert_close(semantic_confidence(logits, 8, (20, 24), (31, 9)), expected.expand(31, 9))
