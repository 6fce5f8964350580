# SPDX-License-Identifier: Apache-2.0
"""Training that starts from weights of another label set, or from published ImageNet weights."""

import dataclasses

import pytest
import torch

from yoso_ros.checkpoint import save_checkpoint
from yoso_ros.errors import InputError
from yoso_ros.label_sets import LabelClass, LabelSet
from yoso_ros.models import create_model, load_config
from yoso_ros.training.initial_weights import load_initial_weights

CAMVID = load_config("yoso_mobilenetv2_camvid")


def label_set(*names):
    classes = [LabelClass(name=n, is_thing=n.islower(), dataset_id=i, color=(i, i, i)) for i, n in enumerate(names)]
    return LabelSet(name="own", source="made up", classes=tuple(classes))


OWN = dataclasses.replace(CAMVID, name="own", label_set=label_set("crate", "Road", "car"))


@pytest.fixture
def given(tmp_path):
    """Path of a CamVid checkpoint, and its state dict."""
    torch.manual_seed(1)
    state = create_model(CAMVID).state_dict()
    save_checkpoint(tmp_path / "camvid.safetensors", state, CAMVID, {})
    return tmp_path / "camvid.safetensors", state


def test_rows_of_known_classes_are_carried_over(given):
    path, state = given
    torch.manual_seed(2)
    model = create_model(OWN)
    fresh = {key: value.clone() for key, value in model.state_dict().items()}
    told = load_initial_weights(model, path)
    assert told == (
        "all weights of yoso_mobilenetv2_camvid but those of its 11 classes; of 3 classes carried over by name: "
        "Road, car; fresh: crate"
    )
    layers = 0
    for key, value in model.state_dict().items():
        if "class_predictor" not in key:
            assert torch.equal(value, state[key]), key
            continue
        layers += 1
        road, car, nothing = state[key][3], state[key][8], state[key][11]
        assert torch.equal(value, torch.stack([fresh[key][0], road, car, nothing])), key
    assert layers == 4  # weight and bias of two stages


def test_as_many_classes_of_other_names(given):
    """The shapes are equal, and the rows must be mixed all the same."""
    path, state = given
    names = [label.name for label in CAMVID.label_set.classes]
    other = dataclasses.replace(CAMVID, label_set=label_set(*reversed(names)))
    model = create_model(other)
    load_initial_weights(model, path)
    key = "decoder.stages.0.class_predictor.weight"
    assert torch.equal(model.state_dict()[key][:-1], state[key][:-1].flip(0))


def test_the_same_classes_are_loaded_strictly(given):
    path, state = given
    model = create_model(CAMVID)
    assert load_initial_weights(model, path) == ""
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_another_network_is_refused(given):
    path, _ = given
    wider = dataclasses.replace(OWN, hidden_dim=192)
    with pytest.raises(InputError, match="keys do not fit the model"):
        load_initial_weights(create_model(wider), path)


def test_interpolation_first(given):
    path, _ = given
    model = create_model(dataclasses.replace(OWN, aggregation="ifa"))
    assert "carried over by name: Road, car" in load_initial_weights(model, path)
