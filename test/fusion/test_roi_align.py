# SPDX-License-Identifier: Apache-2.0
"""RoIAlign, the attentions of crops and the masks put back: each against its definition, place by place, in float64."""

import math

import pytest
import torch
from torch.nn import functional

from yoso_ros.fusion.instance_attention import crop_logits, factored_attention, map_logits
from yoso_ros.fusion.pasted_masks import pasted_pixels
from yoso_ros.fusion.roi_align import roi_align

BOXES = torch.tensor(
    [
        [8.0, 4, 40, 28],
        [3.3, 5.1, 17.9, 47.7],
        [-30, -12, 90, 70],
        [60, 40, 61, 90],
        [200, 200, 260, 230],
        [5, 5, 5, 5],
    ],
    dtype=torch.float64,
)


def literal_align(features, box, side, stride, samples):
    """The published rule: the mean of bilinear samples, 0 for those more than one map pixel outside."""
    depth, height, width = features.shape
    x1, y1, x2, y2 = (value / stride - 0.5 for value in box.tolist())
    crop = torch.zeros(depth, side, side, dtype=features.dtype)
    for row in range(side):
        for column in range(side):
            for i in range(samples):
                for j in range(samples):
                    y = y1 + (row + (i + 0.5) / samples) * (y2 - y1) / side
                    x = x1 + (column + (j + 0.5) / samples) * (x2 - x1) / side
                    if not (-1 <= y <= height and -1 <= x <= width):
                        continue
                    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
                    y0, x0 = math.floor(y), math.floor(x)
                    y_, x_ = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
                    a, b = y - y0, x - x0
                    top = features[:, y0, x0] * (1 - b) + features[:, y0, x_] * b
                    bottom = features[:, y_, x0] * (1 - b) + features[:, y_, x_] * b
                    crop[:, row, column] += (top * (1 - a) + bottom * a) / samples**2
    return crop


def test_roi_align_equals_its_definition():
    torch.manual_seed(0)
    features = torch.randn(3, 12, 17, dtype=torch.float64)
    for side, samples in ((7, 1), (5, 2)):
        expected = torch.stack([literal_align(features, box, side, 4, samples) for box in BOXES])
        assert expected[4].abs().max() == 0 and expected[2].abs().max() > 0
        torch.testing.assert_close(roi_align(features, BOXES, side, 4, samples), expected, atol=1e-12, rtol=0)
        single = roi_align(features.float(), BOXES.float(), side, 4, samples)
        torch.testing.assert_close(single, expected.float(), atol=1e-5, rtol=0)
    assert roi_align(features, BOXES[:0], 7, 4).shape == (0, 3, 7, 7)
    few = features[:1, :6, :6].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda f: roi_align(f, BOXES[:3], 2, 4), few)


def test_roi_align_equals_torchvision():
    ops = pytest.importorskip("torchvision.ops", reason="torchvision is not installed")
    features = torch.randn(3, 40, 50)
    boxes = BOXES.float()
    for samples in (1, 2):
        expected = ops.roi_align(features[None], [boxes], 56, 1 / 4, samples, aligned=True)
        torch.testing.assert_close(roi_align(features, boxes, 56, 4, samples), expected, atol=1e-5, rtol=0)


def resized(values, side):
    return functional.interpolate(values[None, None], size=(side, side), mode="bilinear", align_corners=False)[0, 0]


def test_attentions_equal_the_equations():
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    crops, side = random(3, 5, 8, 8), 8
    vector = random(3, 5)
    found = crop_logits(crops, vector, "vector")
    for n in range(3):
        torch.testing.assert_close(found[n], sum(vector[n, d] * crops[n, d] for d in range(5)))
    full = random(3, 5 * 4 * 4)
    found = crop_logits(crops, full, "full")
    for n in range(3):
        weights = torch.stack([resized(m, side) for m in full[n].view(5, 4, 4)])
        weights = weights.exp() / weights.exp().sum(0)
        torch.testing.assert_close(found[n], (weights * crops[n]).sum(0))
    # Eq. 7 and 8 with K = 2, R = 3, A = 4.
    u_and_v, factored = random(2, 2, 3, 4), random(3, 2 * (5 + 3))
    found = crop_logits(crops, factored, "factored", u_and_v)
    for n in range(3):
        expected = torch.zeros(side, side, dtype=torch.float64)
        for k in range(2):
            t, s = factored[n, 5 * k : 5 * k + 5], factored[n, 10 + 3 * k : 13 + 3 * k]
            attention = u_and_v[0, k].T @ s.diag() @ u_and_v[1, k]
            torch.testing.assert_close(factored_attention(factored[:, 10:].view(3, 2, 3), u_and_v)[n, k], attention)
            expected += resized(attention, side) * sum(t[d] * crops[n, d] for d in range(5))
        torch.testing.assert_close(found[n], expected)


def test_maps_of_the_unified_layer_have_the_attention_of_the_place_in_the_box(monkeypatch):
    torch.manual_seed(1)
    basis, components = torch.randn(5, 12, 16, dtype=torch.float64), torch.randn(2, 2, 3, 4, dtype=torch.float64)
    embeddings = torch.randn(2, 16, dtype=torch.float64)
    boxes = torch.tensor([[8.0, 4, 40, 36], [0, 0, 64, 48]], dtype=torch.float64)
    found = map_logits(basis, embeddings, boxes, "factored", components)
    # A box whose sides are those of map pixels: its crop with one sample to a pixel is the map itself.
    for n, (rows, columns) in enumerate(((slice(1, 9), slice(2, 10)), (slice(0, 12), slice(0, 16)))):
        crop = basis[None, :, rows, columns]
        attention = factored_attention(embeddings[n : n + 1, 10:].view(1, 2, 3), components)
        attention = functional.interpolate(attention, size=crop.shape[-2:], mode="bilinear", align_corners=False)
        projected = torch.einsum("kd,dyx->kyx", embeddings[n, :10].view(2, 5), crop[0])
        torch.testing.assert_close(found[n, rows, columns], (attention[0] * projected).sum(0))
    monkeypatch.setattr("yoso_ros.fusion.instance_attention.MOST_VALUES", 1)
    torch.testing.assert_close(map_logits(basis, embeddings, boxes, "factored", components), found)
    vector = map_logits(basis, embeddings[:, :5], boxes, "vector")
    torch.testing.assert_close(vector[1], sum(embeddings[1, d] * basis[d] for d in range(5)))


def test_masks_are_put_back_into_their_boxes(monkeypatch):
    generator = torch.Generator().manual_seed(2)
    maps = torch.rand((5, 7, 7), generator=generator)
    boxes = torch.tensor(
        [[4.2, 3, 30.9, 21], [-9, -5, 80, 70], [40, 10, 41.3, 44], [90, 90, 99, 99], [50, 40, 64, 48.0]]
    )
    input_size, output_size = (48, 64), (60, 96)
    expected = torch.zeros(5, *output_size)
    for n, box in enumerate(boxes.double().tolist()):
        x1, y1, x2, y2 = box[0] * 1.5, box[1] * 1.25, box[2] * 1.5, box[3] * 1.25
        for y in range(60):
            for x in range(96):
                if x1 <= x + 0.5 < x2 and y1 <= y + 0.5 < y2:
                    at = [(x + 0.5 - x1) / (x2 - x1) * 2 - 1, (y + 0.5 - y1) / (y2 - y1) * 2 - 1]
                    place = torch.tensor(at, dtype=torch.float32).view(1, 1, 1, 2)
                    expected[n, y, x] = functional.grid_sample(
                        maps[n][None, None], place, padding_mode="border", align_corners=False
                    )
    monkeypatch.setattr("yoso_ros.fusion.pasted_masks.MOST_PIXELS", 700)
    found = torch.zeros_like(expected).flatten(1)
    for part in pasted_pixels(maps, boxes, input_size, output_size, threshold=0.0):
        assert not found[part.instances, part.pixels].any()
        found[part.instances, part.pixels] = part.values
    torch.testing.assert_close(found.view_as(expected), expected, atol=1e-5, rtol=0)
    assert not expected[3].any() and expected[4, -1, -1] > 0
    assert list(pasted_pixels(maps[:0], boxes[:0], input_size, output_size)) == []
