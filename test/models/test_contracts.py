# SPDX-License-Identifier: Apache-2.0
"""Contracts of every model configuration: finite forward, a gradient for every parameter, the paper's knobs."""

import dataclasses

import pytest
import torch

from yoso_ros.errors import InputError
from yoso_ros.label_sets import load_label_set
from yoso_ros.models import create_model, load_config, model_names

SMALL = "yoso_mobilenetv2_camvid"


def check(config, size=(64, 96)):
    torch.manual_seed(0)
    model = create_model(config)
    height, width = size
    images = 255 * torch.rand(2, 3, height, width)
    sum(t.float().square().mean() for t in tensors_in(model(images))).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not without
    with torch.no_grad():
        outputs, single = model.eval()(images), model(images[:1])
    assert type(outputs) is model.Outputs and all(torch.is_tensor(t) and t.isfinite().all() for t in outputs)
    assert all(
        len(t) == 2 and t.shape[1:] == s.shape[1:] and t.dtype == s.dtype for t, s in zip(outputs, single, strict=True)
    )
    return outputs


def tensors_in(outputs):
    """All tensors of nested lists and tuples."""
    if torch.is_tensor(outputs):
        return [outputs]
    return [t for part in outputs if part is not None for t in tensors_in(part)]


@pytest.mark.parametrize("name", model_names())
def test_every_configuration(name):
    check(load_config(name))


KNOBS = (
    [{"backbone": b, "backbone_norm": "batch_norm"} for b in ("resnet18", "resnet34", "resnet50", "mobilenet_v2")]
    + [{"attention": a} for a in ("sdca", "dca", "ddca", "pdca", "mhca")]
    + [{"num_attention_blocks": n} for n in (1, 3, 4)]
    + [{"kernel_size": t} for t in (1, 5, 7)]
    + [{"num_stages": t} for t in (1, 3)]
    + [{"num_proposals": n} for n in (10, 150)]
    + [{"aggregation": "ifa"}]
)


@pytest.mark.parametrize("knob", KNOBS, ids=str)
def test_every_knob(knob):
    config = dataclasses.replace(load_config(SMALL), **knob)
    outputs = check(config)
    assert outputs.class_logits.shape == (2, config.num_proposals, config.num_classes + 1)
    assert outputs.mask_logits.shape == (2, config.num_proposals, 64 // 4, 96 // 4)


def test_size_that_is_no_multiple_of_32_is_refused():
    model = create_model(load_config(SMALL)).eval()
    with pytest.raises(ValueError, match="multiples of 32.*33"):
        model(torch.zeros(1, 3, 64, 33))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("coco", 42036893), ("cityscapes", 42559801), ("ade20k", 42045631), ("mapillary", 42594575)],
)
def test_parameter_count_equals_the_authors(name, parameters):
    model = create_model(load_config(f"yoso_r50_{name}"))
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_configurations_equal_the_authors(golden):
    import json

    for name, numbers in json.loads((golden / "metadata.json").read_text()).items():
        config = load_config(f"yoso_r50_{name}")
        expected = {
            "num_classes": config.num_classes,
            "num_proposals": config.num_proposals,
            "num_cls_fcs": config.num_class_layers,
            "num_mask_fcs": config.num_mask_layers,
            "temperature": config.temperature,
            "object_mask_threshold": config.score_threshold,
            "overlap_threshold": config.overlap_threshold,
            "min_size_test": config.shortest_edge,
            "max_size_test": config.longest_edge,
            "pixel_mean": list(config.pixel_mean),
            "pixel_std": list(config.pixel_std),
            "thing_contiguous_ids": list(config.label_set.thing_ids),
        }
        assert {key: numbers[key] for key in expected} == expected
        for kind in ("thing", "stuff"):
            for dataset_id, contiguous in numbers[f"{kind}_dataset_to_contiguous"].items():
                assert config.label_set.contiguous_id[int(dataset_id)] == contiguous
        assert [c.name for c in config.label_set.classes] == [n.strip() for n in numbers["stuff_classes"]]


def test_faults_of_a_configuration_are_named(tmp_path):
    with pytest.raises(InputError, match="unknown model 'nothing'; known: .*yoso_r50_coco"):
        load_config("nothing")
    path = tmp_path / "mine.yaml"
    path.write_text("architecture: yoso\nlabel_set: camvid\nhiden_dim: 3\n")
    with pytest.raises(InputError, match="mine.yaml: unknown key hiden_dim; allowed: .*hidden_dim"):
        load_config(path)
    path.write_text("architecture: yoso\nlabel_set: camvid\nhidden_dim: wide\n")
    with pytest.raises(InputError, match="hidden_dim: expected int, found 'wide'"):
        load_config(path)
    path.write_text("architecture: yolo\nlabel_set: camvid\n")
    with pytest.raises(InputError, match="expected one of yoso, .*found 'yolo'"):
        load_config(path)
    assert len(load_label_set("camvid")) == 11
