# SPDX-License-Identifier: Apache-2.0
"""Feature pyramid and the shared parts of dense detectors: sizes, options, locations, boxes."""

import math

import pytest
import torch
from torch.nn import functional

from yoso_ros.fusion.detections import level_map_sizes
from yoso_ros.models.fcos import LevelOutputs, Towers, grid_locations, offsets_to_boxes
from yoso_ros.models.fpn import FeaturePyramid


@pytest.mark.parametrize("size", [(192, 352), (256, 512), (250, 500), (100, 100)])
def test_pyramid_sizes_follow_the_backbone(size):
    features = [torch.randn(1, c, -(-size[0] // s), -(-size[1] // s)) for c, s in ((3, 8), (4, 16), (5, 32))]
    pyramid = FeaturePyramid(in_channels=(3, 4, 5), channels=8)(features)
    assert [tuple(p.shape) for p in pyramid] == [(1, 8, *s) for s in level_map_sizes(*size)]


def test_p6_has_no_activation_and_p7_has_one_as_an_option():
    torch.manual_seed(0)
    with_relu = FeaturePyramid(in_channels=(3, 4, 5), channels=8)
    without = FeaturePyramid(in_channels=(3, 4, 5), channels=8, relu_before_p7=False)
    without.load_state_dict(with_relu.state_dict())
    features = [torch.randn(1, c, s, s) for c, s in ((3, 16), (4, 8), (5, 4))]
    a, b = with_relu(features), without(features)
    assert all(torch.equal(x, y) for x, y in zip(a[:4], b[:4], strict=True))
    assert (a[3] < 0).any()
    assert torch.equal(a[4], with_relu.p7(functional.relu(a[3])))
    assert torch.equal(b[4], with_relu.p7(a[3]))


class Head(torch.nn.Module):
    """Towers and outputs with nothing in between."""

    def __init__(self, two_towers=True, **options):
        super().__init__()
        self.towers = Towers(in_channels=16, class_channels=8, box_channels=16, depth=2, two_towers=two_towers)
        channels = {"class_channels": self.towers.class_channels, "box_channels": self.towers.box_channels}
        self.outputs = LevelOutputs(num_classes=3, **channels, **options)

    def forward(self, pyramid):
        return self.outputs(*self.towers(pyramid))


def head(**options):
    torch.manual_seed(1)
    return Head(**options)


def test_scale_multiplies_the_exponent_and_the_offsets_are_pixels():
    network = head(offset_form="exponential")
    pyramid = [torch.randn(2, 16, 4, 6)] * 5
    first = network(pyramid)
    with torch.no_grad():
        network.outputs.scales[0].scale *= 2
    second = network(pyramid)
    torch.testing.assert_close(second[0].offsets, first[0].offsets ** 2)
    assert torch.equal(second[1].offsets, first[1].offsets)
    # A fresh network's boxes have the size of their level.
    for level, stride in zip(first, (8, 16, 32, 64, 128), strict=True):
        assert level.offsets.log().mean().item() == pytest.approx(math.log(4 * stride), abs=0.3)
    with torch.no_grad():
        network.outputs.box_output.bias.fill_(1e4)
    assert network(pyramid)[4].offsets.max().item() == pytest.approx(10000, rel=1e-4)


def test_relu_offsets_count_strides():
    network = head(offset_form="relu", scales=False)
    with torch.no_grad():
        network.outputs.box_output.bias.fill_(3.0)
        network.outputs.box_output.weight.zero_()
    levels = network([torch.randn(1, 16, 2, 2)] * 5)
    assert [level.offsets.unique().tolist() for level in levels] == [[24.0], [48.0], [96.0], [192.0], [384.0]]


def test_one_tower_serves_both():
    network = head(offset_form="exponential", two_towers=False)
    level = network([torch.randn(1, 16, 4, 4)] * 5)[0]
    assert level.class_features is level.box_features
    assert network.outputs.class_output.in_channels == 16


def test_locations_and_boxes():
    assert grid_locations(2, 3, 8).tolist() == [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12]]
    offsets = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1).expand(1, 4, 2, 3)
    boxes = offsets_to_boxes(offsets, 8)
    assert boxes[0, :, 1, 2].tolist() == [19, 10, 23, 16]
