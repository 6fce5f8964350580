# SPDX-License-Identifier: Apache-2.0
"""On a CUDA device: the network, the merge and a training step agree with the CPU. Skips itself without one."""

import dataclasses

import numpy as np
import pytest
import torch

from yoso_ros.inference import Segmenter
from yoso_ros.inference.engines import create_engine
from yoso_ros.models import create_model, load_config
from yoso_ros.training.criteria import MaskCriterionConfig, SetCriterion
from yoso_ros.training.targets import Target

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


@pytest.fixture(autouse=True)
def exact_float32():
    """TensorFloat32 would blur the comparison."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def small_model():
    torch.manual_seed(0)
    config = dataclasses.replace(load_config("yoso_mobilenetv2_camvid"), score_threshold=0.05, overlap_threshold=0.1)
    model = create_model(config).eval()
    for stage in model.decoder.stages:
        torch.nn.init.normal_(stage.class_predictor.weight, std=2.0)
    return config, model


def test_segmenter_equals_the_cpu():
    config, model = small_model()
    frame = np.random.default_rng(0).integers(0, 256, (360, 480, 3), np.uint8)
    on_cpu = Segmenter(config, create_engine("torch", model, "cpu", "fp32"))(frame)
    on_gpu = Segmenter(config, create_engine("torch", model, "cuda", "fp32"))(frame)
    assert (on_cpu.panoptic != on_gpu.panoptic).mean() < 0.01
    assert np.array_equal(on_gpu.panoptic >> 8, on_gpu.semantic)


def test_training_step_equals_the_cpu():
    config, model = small_model()
    images = 255 * torch.rand(2, 3, 64, 96)
    targets = [Target(torch.tensor([1, 8]), torch.rand(2, 64, 96) > 0.5) for _ in range(2)]
    model.train()
    totals = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(3)
        stages = model.to(device)(images.to(device))
        criterion = SetCriterion(config, MaskCriterionConfig(num_points=2048))
        own = [Target(t.labels.to(device), t.masks.to(device)) for t in targets]
        losses = criterion(stages, own, criterion.normalizer(own))
        totals.append(sum(losses.values()).item())
        sum(losses.values()).backward()
    # The random points differ between the devices' generators.
    assert totals[0] == pytest.approx(totals[1], rel=0.05)
