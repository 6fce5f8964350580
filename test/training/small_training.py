# SPDX-License-Identifier: Apache-2.0
"""A small model and four made scenes to train it on; as a program, one process of a data-parallel run."""

import dataclasses
import sys

import numpy as np
import torch

from yoso_ros.data.samples import PanopticSample
from yoso_ros.models import create_model, load_config
from yoso_ros.processes import rank
from yoso_ros.training.augment import Augmentation
from yoso_ros.training.config import AugmentationConfig, TrainingConfig
from yoso_ros.training.criteria import MaskCriterionConfig
from yoso_ros.training.distributed import join_processes, leave_processes
from yoso_ros.training.trainer import Trainer, seed_everything

MODEL = dataclasses.replace(
    load_config("yoso_mobilenetv2_camvid"), pyramid_channels=(8, 8, 8, 8), aggregator_channels=8, hidden_dim=16,
    ffn_dim=16, num_proposals=6,
)  # fmt: skip
RECIPE = TrainingConfig(
    model="small",
    augmentation=AugmentationConfig(crop_height=64, crop_width=64, scale_min=0.9, scale_max=1.1),
    criterion=MaskCriterionConfig(num_points=256),
    iterations=6,
    batch_size=2,
    learning_rate=2e-3,
    clip_norm=1.0,
    ema_decay=0.9,
    validate_every=2,
)


class Scenes:
    """Images of a bright square (class 8) on a dark ground (class 3); every fourth has no segment at all."""

    def __init__(self, empty=False):
        self.empty = empty

    def __len__(self):
        return 4

    def __getitem__(self, index):
        ids = np.ones((64, 64), np.int32)
        ids[8 * index : 8 * index + 24, 16:48] = 2
        noise = np.random.default_rng(index).integers(-20, 21, (64, 64, 3))
        image = (np.where(ids[..., None] == 2, 230, 20) + noise).astype(np.uint8)
        segments = [
            {"id": 1, "category_id": 3, "iscrowd": 0, "area": 0, "bbox": [0, 0, 1, 1]},
            {"id": 2, "category_id": 8, "iscrowd": 0, "area": 0, "bbox": [0, 0, 1, 1]},
        ]
        if self.empty and index == 3:
            ids, segments = np.zeros_like(ids), []
        return PanopticSample(image, ids, segments, index, str(index))


def small_trainer(folder, recipe=RECIPE, model=MODEL, scenes=None, device="cpu", **kwargs):
    """A `Trainer` of the small model with the seed of all tests."""
    seed_everything(0)
    augment = Augmentation(recipe.augmentation, model.label_set)
    return Trainer(create_model(model), recipe, scenes or Scenes(), augment, folder, device=device, **kwargs)


def same_points_for_every_mask(*shape, device=None):
    """Stands in for torch.rand: points that do not depend on how images and masks are shared out."""
    row = np.random.default_rng(shape[1]).random(shape[1:])
    return torch.from_numpy(row).expand(shape).contiguous()


def compare_exactly(patch):
    """Make training comparable: the same points, and float64, in which rounding does not hide a difference.

    Args:
        patch: `setattr`, or that of pytest's monkeypatch.
    """
    torch.set_default_dtype(torch.float64)
    patch(torch, "rand", same_points_for_every_mask)
    patch(torch.Tensor, "float", torch.Tensor.double)


def train_jointly(folder, accumulation=1, batch_statistics=True):
    """Three steps on batches of four; returns (losses per step, gradient of the first step, weights)."""
    recipe = dataclasses.replace(RECIPE, iterations=3, batch_size=4, accumulation=accumulation)
    trainer = small_trainer(folder, recipe, dataclasses.replace(MODEL, backbone_norm="batch_norm"), Scenes(empty=True))
    if not batch_statistics:  # the passes of one batch cannot share them
        for module in trainer.model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval().train = lambda mode=True: None
    losses, gradient, batches = [], None, iter(trainer.batches())
    for _ in range(recipe.iterations):
        losses.append(trainer.step([next(batches) for _ in range(accumulation)]))
        if gradient is None:
            gradient = {n: p.grad.clone() for n, p in trainer.model.named_parameters()}
    return losses, gradient, trainer.model.state_dict()


if __name__ == "__main__":
    join_processes("cpu")
    compare_exactly(setattr)
    result = train_jointly(sys.argv[1])
    if rank() == 0:
        torch.save(result, f"{sys.argv[1]}/result.pt")
    leave_processes()
