# SPDX-License-Identifier: Apache-2.0
"""RealTimePan equals the authors' released inference: every raw output, kept boxes, dense boxes, masks, semantics.

The golden weights are deterministic numbers per key, so no checkpoint is needed. The tolerances come with the data.
"""

import dataclasses
import importlib.util
import json

import numpy as np
import pytest
import torch

from yoso_ros.errors import InputError
from yoso_ros.fusion import FUSIONS
from yoso_ros.models import create_model, load_config
from yoso_ros.models.realtimepan.network import outputs_of
from yoso_ros.models.realtimepan.official_checkpoint import load_official_state_dict

FUSION = FUSIONS["realtimepan"]


@pytest.fixture(scope="module")
def folder(golden):
    return golden / "realtimepan"


@pytest.fixture(scope="module")
def state(folder):
    spec = importlib.util.spec_from_file_location("fill_realtimepan", folder / "fill_realtimepan.py")
    fill = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fill)
    keys = json.loads((folder / "keys_realtimepan_cityscapes.json").read_text())
    return {k: torch.from_numpy(fill.value(k, s, "cityscapes")) for k, s, _ in keys}


@pytest.fixture(scope="module")
def network(state):
    model = create_model(load_config("realtimepan_r50_cityscapes")).eval()
    load_official_state_dict(model, state)
    return model


@pytest.fixture(scope="module")
def raw(folder):
    return dict(np.load(folder / "golden_realtimepan_cityscapes_raw.npz"))


@pytest.fixture(scope="module")
def stages(folder):
    return dict(np.load(folder / "golden_realtimepan_cityscapes_stages.npz"))


@pytest.fixture(scope="module")
def image(raw):
    return torch.from_numpy(raw["image"]).permute(2, 0, 1)[None].float()


@pytest.fixture(scope="module")
def predictions(network, image):
    with torch.no_grad():
        return network.predictions(image)


@pytest.fixture(scope="module")
def outputs(predictions):
    return one_image(outputs_of(predictions))


def one_image(outputs):
    return type(outputs)(*(tensor[0] for tensor in outputs))


def test_raw_outputs(predictions, raw):
    pairs = [(predictions.semantic_logits, "semantic_logits"), (predictions.levelness_logits, "levelness_logits")]
    for level in range(5):
        pairs += [
            (predictions.box_class_logits[level], f"box_cls_P{level + 3}"),
            (predictions.box_offsets[level], f"bbox_reg_P{level + 3}"),
            (predictions.centerness_logits[level], f"centerness_P{level + 3}"),
        ]
    for tensor, name in pairs:
        expected = raw[name]
        assert tensor[0].shape == expected.shape, name
        assert np.abs(tensor[0].numpy() - expected).max() < 1e-4 * np.abs(expected).max(), name


def test_forward_is_predictions_and_what_follows(network, image, outputs):
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(one_image(network(image)), outputs, strict=True))


def test_dense_boxes(outputs, stages):
    difference = np.abs(outputs.dense_boxes.numpy() - stages["dense_boxes"])
    rows, columns = stages["dense_level_tie_pixels"].T
    difference[:, rows, columns] = 0
    assert difference.max() < 0.05


def unpacked(stages, prefix, size):
    return (
        np.unpackbits(stages[f"{prefix}masks_packed"], axis=1)[:, : size[0] * size[1]].reshape(-1, *size).astype(bool)
    )


def check_instances(found, stages, prefix, size):
    assert np.array_equal(found.class_ids.numpy(), 10 + stages[f"{prefix}kept_labels"])
    assert np.abs(found.boxes.numpy() - stages[f"{prefix}kept_boxes"]).max() < 0.02
    assert np.abs(found.scores.numpy() - stages[f"{prefix}kept_scores"]).max() < 1e-4
    expected = unpacked(stages, prefix, size)
    assert (found.masks.numpy() != expected).sum() <= 0.002 * expected.sum()


def test_kept_boxes_and_masks(network, outputs, stages):
    check_instances(FUSION.instances(outputs, (256, 512), (256, 512), network.config), stages, "", (256, 512))


def test_padded_image(network, image, stages):
    size = tuple(stages["padded_image_size"].tolist())
    padded = network.pixel_mean.expand_as(image).clone()
    padded[:, :, : size[0], : size[1]] = image[:, :, : size[0], : size[1]]
    with torch.no_grad():
        outputs = one_image(network(padded))
    check_instances(FUSION.instances(outputs, size, size, network.config), stages, "padded_", size)
    semantic = FUSION.semantic(outputs, (256, 512), (256, 512), network.config)
    assert (semantic.numpy() != stages["padded_semantic_argmax_full"]).sum() <= 2
    assert torch.equal(FUSION.semantic(outputs, size, size, network.config), semantic[: size[0], : size[1]])


def test_semantics(network, outputs, stages):
    semantic = FUSION.semantic(outputs, (256, 512), (256, 512), network.config)
    assert (semantic.numpy() != stages["semantic_argmax_full"]).sum() <= 2


def test_sides_that_are_no_multiples_of_8(network, image):
    with torch.no_grad():
        predictions = network.predictions(image[..., :250, :500])
    assert predictions.semantic_logits.shape[-2:] == (32, 63)
    assert predictions.levelness_logits.shape[-2:] == (64, 126)


def test_location_score_is_an_option(network, outputs, stages):
    config = dataclasses.replace(network.config, location_score="iou")
    masks = FUSION.instances(outputs, (256, 512), (256, 512), config).masks.numpy()
    # What the two readings of Eq. 6 differ by in these data, as found with another implementation.
    assert abs(int((masks != unpacked(stages, "", (256, 512))).sum()) - 4304) <= 20


def test_official_keys_strict(network, state):
    assert len(network.state_dict()) == len(state) == 328
    broken = dict(state)
    broken["panoptic_head.extra"] = broken.pop("panoptic_head.levelness.bias")
    broken["panoptic_head.cls_logits.bias"] = torch.zeros(7)
    with pytest.raises(InputError) as error:
        load_official_state_dict(create_model(network.config), broken)
    for text in ("missing head.levelness_output.bias", "panoptic_head.extra", "panoptic_head.cls_logits.bias", "(7,)"):
        assert text in str(error.value)


def test_channel_order_and_deeper_pyramid_keys(network, state):
    deeper = {
        k.replace("blocks.0.", "blocks.0.0.").replace("blocks.1.", "blocks.1.0.").replace("blocks.2.", "blocks.2.0."): v
        for k, v in state.items()
    }
    other = create_model(network.config)
    load_official_state_dict(other, deeper, bgr=False)
    for key, value in network.state_dict().items():
        expected = value.flip(1) if key == "backbone.conv1.weight" else value
        assert torch.equal(other.state_dict()[key], expected), key


def test_eps_of_the_batch_norms_shows(network, state, image, raw):
    other = create_model(dataclasses.replace(network.config, batch_norm_eps=1e-5)).eval()
    load_official_state_dict(other, state)
    with torch.no_grad():
        levelness = other.predictions(image).levelness_logits[0].numpy()
    change = np.abs(levelness - raw["levelness_logits"]).max() / np.abs(raw["levelness_logits"]).max()
    assert change == pytest.approx(0.0217, rel=0.05)
