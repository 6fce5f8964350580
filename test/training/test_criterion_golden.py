# SPDX-License-Identifier: Apache-2.0
"""Losses, matches and gradient norms equal the authors' on golden L1 (objects everywhere) and L2 (an image without)."""

import json

import numpy as np
import pytest
import torch

from yoso_ros.models import create_model, load_config
from yoso_ros.models.yoso.official_checkpoint import load_official_state_dict, package_key
from yoso_ros.training.criteria import MaskCriterionConfig, SetCriterion
from yoso_ros.training.targets import Target

# (image, seed of the targets, number of objects) per batch.
BATCHES = {"L1": (("A", 50, 5), ("B", 51, 3)), "L2": (("B", 60, 0), ("A", 61, 4))}
SIZES = {"A": (1, 256, 320), "B": (2, 250, 333)}
PADDED = (256, 352)


@pytest.mark.parametrize("batch", ["L1", "L2"])
@pytest.mark.parametrize("name", ["coco", "ade20k"])
def test_losses_matches_and_gradients(golden, monkeypatch, name, batch):
    monkeypatch.syspath_prepend(str(golden))
    import fill

    expected = json.loads((golden / f"golden_{name}.json").read_text())[batch]
    config = load_config(f"yoso_r50_{name}")
    model = create_model(config).eval()
    keys = json.loads((golden / f"keys_{name}.json").read_text())
    load_official_state_dict(model, {k: torch.from_numpy(np.asarray(fill.value(k, s))) for k, s, _ in keys})
    model.training = model.decoder.training = True  # the loss branch, with norms in evaluation mode

    images = torch.tensor(config.pixel_mean).view(1, 3, 1, 1).repeat(2, 1, *PADDED)
    targets = []
    for i, (image, seed, count) in enumerate(BATCHES[batch]):
        image_seed, height, width = SIZES[image]
        images[i, :, :height, :width] = torch.from_numpy(fill.image(image_seed, height, width)).permute(2, 0, 1).float()
        labels, masks = fill.targets(seed, count, height, width, config.num_classes)
        padded = torch.zeros(count, *PADDED)
        padded[:, :height, :width] = torch.from_numpy(masks).float()
        targets.append(Target(torch.from_numpy(labels), padded))

    random = fill.FixedRand()
    monkeypatch.setattr(torch, "rand", random)
    criterion = SetCriterion(config, MaskCriterionConfig())
    losses = criterion(model(images), targets, criterion.normalizer(targets))
    assert [list(c) for c in random.calls] == expected["rand_calls"]
    assert losses.keys() == expected["losses_weighted"].keys()
    for key, value in expected["losses_weighted"].items():
        assert losses[key].item() == pytest.approx(value, rel=5e-4), key
    for stage, images_matches in enumerate(expected["indices"]):
        for image, (proposals, chosen) in enumerate(images_matches):
            assert [m.tolist() for m in criterion.matches[stage][image]] == [proposals, chosen]

    sum(losses.values()).backward()
    norms = {key: parameter.grad.norm().item() for key, parameter in model.named_parameters()}
    assert len(expected["grad_norms"]) == len(norms)
    for key, value in expected["grad_norms"].items():
        assert norms[package_key(key)] == pytest.approx(value, rel=1e-2, abs=1e-6), key
