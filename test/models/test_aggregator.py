# SPDX-License-Identifier: Apache-2.0
"""IFA and CFA are equal after re-parameterisation in both directions, as modules and as state dicts (Observation I)."""

import dataclasses

import pytest
import torch

from yoso_ros.models import create_model, load_config
from yoso_ros.models.yoso.aggregator import (
    ConvolutionFirstAggregation,
    InterpolationFirstAggregation,
    convert_aggregation,
)

CHANNELS = (5, 7, 11, 13)


@pytest.fixture
def pyramid():
    generator = torch.Generator().manual_seed(3)
    return [
        torch.randn(2, c, 24 // 2**i, 40 // 2**i, generator=generator, dtype=torch.float64)
        for i, c in enumerate(CHANNELS)
    ]


@pytest.mark.parametrize("start", [InterpolationFirstAggregation, ConvolutionFirstAggregation])
def test_both_directions_in_float64(start, pyramid):
    torch.manual_seed(0)
    module = start(CHANNELS, 6).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    first = start is InterpolationFirstAggregation
    other = module.to_convolution_first() if first else module.to_interpolation_first()
    back = other.to_interpolation_first() if first else other.to_convolution_first()
    assert type(other) is not type(module)
    assert (module(pyramid) - other(pyramid)).abs().max() < 1e-12
    assert torch.equal(module(pyramid), back(pyramid))


def small(aggregation):
    return dataclasses.replace(load_config("yoso_mobilenetv2_camvid"), aggregation=aggregation)


@pytest.mark.parametrize(("trained", "run"), [("ifa", "cfa"), ("cfa", "ifa")])
def test_a_model_trained_in_one_form_loads_in_the_other(trained, run):
    torch.manual_seed(1)
    source = create_model(small(trained)).double().eval()
    target = create_model(small(run)).double().eval()
    target.load_state_dict(convert_aggregation(source.state_dict(), run))
    images = 255 * torch.rand(1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        features = [m.neck(m.backbone((images - m.pixel_mean) / m.pixel_std)) for m in (source, target)]
    assert (features[0] - features[1]).abs().max() < 1e-12
