# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros benchmark networks`: given outputs of every network, the table, and PQ over milliseconds."""

import json
import re

import pytest
import torch

from yoso_ros.benchmark.given_outputs import GivenOutputs
from yoso_ros.benchmark.networks import front, quality_points
from yoso_ros.cli import main
from yoso_ros.errors import InputError
from yoso_ros.fusion import find_fusion
from yoso_ros.models import create_model, load_config

DETECTORS = ("realtimepan_mobilenetv2_synthetic", "dr1mask_mobilenetv2_synthetic")


@pytest.mark.parametrize("name", DETECTORS)
def test_given_outputs_of_detectors_keep_about_the_asked_number_in_every_image_of_a_batch(name):
    config, size = load_config(name), (256, 384)
    with torch.device("meta"):
        shapes = create_model(config, weights_follow=True).eval()(torch.zeros(2, 3, *size))
    given = GivenOutputs(12, config)(type(shapes)(*(torch.zeros(tensor.shape) for tensor in shapes)))
    assert all(
        found.shape == wanted.shape and found.isfinite().all() for found, wanted in zip(given, shapes, strict=True)
    )
    assert all(torch.equal(tensor[0], tensor[1]) for tensor in given)
    merged = find_fusion(config.architecture).merge(type(given)(*(t[0] for t in given)), size, size, config)
    # Some cover each other for the most part.
    assert 6 <= sum(s.is_thing for s in merged.segments) <= 12 and any(not s.is_thing for s in merged.segments)
    assert (merged.segment_map > 0).float().mean() > 0.5


def test_networks_without_given_outputs_are_named():
    import types

    with pytest.raises(InputError, match="given outputs are for yoso, hugging_face, realtimepan, dr1mask, found mine"):
        GivenOutputs(3, types.SimpleNamespace(architecture="mine"))


def test_front_by_hand():
    points = [
        ("a", "x", 10.0, 50.0),
        ("a", "y", 5.0, 40.0),
        ("b", "x", 12.0, 45.0),
        ("b", "y", 5.0, 39.0),
        ("c", "x", 20.0, 60.0),
    ]
    assert [p[2] for p in front(points)] == [5.0, 10.0, 20.0] and front(points)[0][3] == 40.0
    rows = [{"model": "a", "backend": "x", "ms": {"total": {"p50": 7.0}}}]
    reports = [
        {
            "model": "config/a.yaml",
            "backend": backend,
            "data": "out/synthetic",
            "panoptic_quality": {"All": {"PQ": 61.0}},
        }
        for backend in "xy"
    ]
    assert quality_points(rows, reports) == {"synthetic": [("a", "x", 7.0, 61.0)]}


def test_command_times_all_in_one_table_and_draws(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="figures need matplotlib")
    command = ["benchmark", "networks", "--models", *DETECTORS, "--weights", "random", "--engines", "torch", "magic"]
    report = {
        "model": DETECTORS[0],
        "backend": "torch-cpu-fp32",
        "data": "d",
        "panoptic_quality": {"All": {"PQ": 50.0}},
    }
    (tmp_path / "report.json").write_text(json.dumps(report))
    command += ["--sizes", "96x128", "--kept", "5", "--rounds", "1", "--output", str(tmp_path / "out.json")]
    drawing = ["--quality", str(tmp_path / "report.json"), "--figure", str(tmp_path / "front.png")]
    assert main([*command, *drawing]) == 0
    out = capsys.readouterr().out
    assert out.count("left out") == 2
    rows = re.findall(r"^(\w+) +torch-cpu-fp32 +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+) ", out, re.M)
    assert [row[0] for row in rows] == list(DETECTORS)
    for row, kept in zip(rows, json.loads((tmp_path / "out.json").read_text())["frames"]["96x128"], strict=True):
        assert float(row[6]) == pytest.approx(sum(map(float, row[3:6])), rel=0.2, abs=2)
        own = sum(p.numel() for p in create_model(load_config(row[0]), weights_follow=True).parameters())
        assert kept["parameters"] == own and kept["flops"] > 1e8
    assert (tmp_path / "front.png").read_bytes()[:4] == b"\x89PNG"
    assert main([*command, *drawing[:2]]) == 2
    (tmp_path / "report.json").write_text("[]")
    assert main([*command, *drawing]) == 2
    assert "expected the report.json of yoso-ros evaluate" in capsys.readouterr().err


def test_given_outputs_of_hub_models_are_as_many_as_their_queries():
    import types

    from yoso_ros.models.hugging_face.network import HuggingFaceOutputs

    labels = load_config("yoso_r50_coco").label_set
    config = types.SimpleNamespace(
        architecture="hugging_face", label_set=labels, score_threshold=0.8, overlap_threshold=0.8
    )
    outputs = HuggingFaceOutputs(torch.zeros(1, 200, len(labels) + 1), torch.zeros(1, 200, 32, 48))
    given = GivenOutputs(9, config)(outputs)
    assert [tensor.shape for tensor in given] == [tensor.shape for tensor in outputs]
    merged = find_fusion("hugging_face").merge([t[0] for t in given], (128, 192), (128, 192), config)
    assert 1 < len(merged.segments) <= 9 and (merged.segment_map > 0).float().mean() > 0.5
