# SPDX-License-Identifier: Apache-2.0
"""Exported graphs equal the network: every model configuration, both variants, fixed and ranged shapes, the command.

The reference is the network itself in torch, not folded, on frames padded as the authors do. The weights are the golden
numbers where there are some, otherwise random ones; they compare two ways to compute the same, nothing else.
"""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from engine_cases import (
    SMALL,
    assert_equal_outputs,
    expected_outputs,
    frames_of,
    golden_network,
    network,
    operators,
    run_graph,
    tiny,
)
from PIL import Image

import yoso_ros
from yoso_ros.checkpoint import save_checkpoint
from yoso_ros.inference.engine_cache import export_onnx
from yoso_ros.inference.subpixel import SubpixelUpsample
from yoso_ros.models import create_model, load_config, model_names
from yoso_ros.models.fcos import STRIDES, flatten_levels, offsets_to_boxes
from yoso_ros.models.fold import fold_batch_norms


@pytest.fixture
def exporter(tmp_path, monkeypatch):
    monkeypatch.setenv("YOSO_CACHE", str(tmp_path))
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason=f"export needs {package}")
    from yoso_ros.inference import export

    return export


BACKBONES = [
    {"backbone": backbone, "backbone_norm": norm}
    for backbone in ("resnet18", "resnet50", "mobilenet_v2")
    for norm in ("batch_norm", "frozen_batch_norm")
]


@pytest.mark.parametrize("change", BACKBONES, ids=lambda change: " ".join(change.values()))
def test_folding_keeps_the_outputs_and_leaves_only_the_norms_of_deformable_convolutions(change):
    model = network(dataclasses.replace(load_config(SMALL), **change))
    folded = fold_batch_norms(model)
    frames = frames_of((1, 64, 90))
    assert_equal_outputs(expected_outputs(folded, frames), expected_outputs(model, frames), tolerance=1e-4)
    left = [name for name, module in folded.named_modules() if hasattr(module, "running_var")]
    assert left == [f"neck.pyramid.upsamples.{level}.deform_norm" for level in range(3)]
    assert any("bn1" in name or "features.0.1" in name for name in model.state_dict()), "the model itself was changed"


@pytest.mark.parametrize("name", [name for name in model_names() if name.startswith("yoso_")])
def test_decoder_on_the_map_before_the_location_convolution_is_equal(request, monkeypatch, name):
    if name.startswith("yoso_r50_"):
        model = golden_network(name.removeprefix("yoso_r50_"), request.getfixturevalue("golden"), monkeypatch)
    else:
        model = network(load_config(name))
    # In float64: rounding moves no pixel of a mask across its threshold, which these numbers are near in places.
    folded = model.double().reparameterize()
    images = torch.from_numpy(frames_of((2, 64, 96))).permute(0, 3, 1, 2).double()
    with torch.no_grad():
        for actual, expected in zip(folded(images)[:2], model(images)[:2], strict=True):
            assert (actual - expected).abs().max() < 1e-8 * expected.abs().max()
    assert not hasattr(folded.neck.location_conv, "weight") and hasattr(model.neck.location_conv, "weight")
    with pytest.raises(ValueError, match="evaluation mode"):
        folded.decoder(torch.zeros(1), all_stages=True)


@pytest.mark.parametrize("channels", [(3, 5), (16, 8)])
def test_transposed_convolution_as_a_plain_one_is_equal(channels):
    torch.manual_seed(0)
    transposed = torch.nn.ConvTranspose2d(*channels, 4, 2, 1).double()
    for size in ((1, 1), (2, 7), (9, 6)):
        x = torch.randn(2, channels[0], *size).double()
        with torch.no_grad():
            assert (SubpixelUpsample(transposed)(x) - transposed(x)).abs().max() < 1e-14
    with pytest.raises(ValueError, match="expected a convolution with kernel 4"):
        SubpixelUpsample(torch.nn.ConvTranspose2d(*channels, 2, 2))


# The variants differ in deformable convolutions only, which are the same in every YOSO of a backbone.
GRAPHS = [(name, "portable") for name in model_names() if name.startswith("yoso_") and name != f"{SMALL}_480"]
GRAPHS += [(name, "tensorrt") for name in ("yoso_r50_coco", SMALL)]
GRAPHS.append(("realtimepan_mobilenetv2_synthetic", "portable"))


@pytest.mark.parametrize(("name", "variant"), GRAPHS)
def test_graph_of_every_configuration_on_a_picture(exporter, request, monkeypatch, shared_data, name, variant):
    if name.startswith("yoso_r50_"):
        model = golden_network(name.removeprefix("yoso_r50_"), request.getfixturevalue("golden"), monkeypatch)
    else:
        model = network(load_config(name))
    pictures = sorted((shared_data / "data" / "coco_tiny").rglob("*.jpg"))
    if not pictures:
        pytest.skip("needs the pictures of the small COCO sample")
    frames = np.asarray(Image.open(pictures[0]).convert("RGB").resize((118, 96)))[None]
    proto = export_onnx(model, frames.shape[:3], variant)
    kinds = operators(proto)
    deformable = 3 if model.config.architecture == "yoso" else 0
    expected = {"portable": (deformable, 0), "tensorrt": (0, deformable)}[variant]
    assert (kinds.count("GridSample"), kinds.count("DeformConv")) == expected
    assert_equal_outputs(run_graph(proto, frames), expected_outputs(model, frames))


def test_graph_of_a_network_whose_outputs_depend_on_its_configuration(exporter):
    narrow = {"backbone": "resnet18", "pyramid_channels": 16, "tower_channels": 16, "tower_depth": 1, "basis_width": 8}
    own = load_config("dr1mask_mobilenetv2_synthetic")
    model = network(dataclasses.replace(own, attention="factored", **narrow))
    frames = frames_of((2, 64, 96))
    proto = export_onnx(model, frames.shape[:3], "portable")
    names = [output.name for output in proto.graph.output]
    assert names == list(model.Outputs._fields) and "attention_components" in names and "stuff_logits" in names
    assert_equal_outputs(run_graph(proto, frames), expected_outputs(model, frames))


def test_tensorrt_variant_keeps_deformable_convolutions_with_a_bias(exporter):
    model = network(load_config(SMALL))
    frames = frames_of((1, 64, 90))
    proto = export_onnx(model, frames.shape[:3], "tensorrt")
    nodes = [node for node in proto.graph.node if node.op_type == "DeformConv"]
    assert len(nodes) == 3 and "GridSample" not in operators(proto)
    initializers = {i.name for i in proto.graph.initializer}
    # x, weight, offset, bias, mask; TensorRT's parser reads the bias whenever there is a mask.
    assert all(len(node.input) == 5 and node.input[3] in initializers for node in nodes)
    assert_equal_outputs(run_graph(proto, frames), expected_outputs(model, frames))


def test_ranged_graph_takes_any_shape_and_names_nothing_of_this_machine(exporter, tiny_graph):
    import onnx

    model, graph = tiny_graph
    proto = exporter.take_uint8(onnx.load_from_string(graph))
    onnx.checker.check_model(proto, full_check=True)
    assert [d.dim_param for d in proto.graph.input[0].type.tensor_type.shape.dim[:3]] == ["batch", "height", "width"]
    assert str(Path(yoso_ros.__file__).parent).encode() not in graph and b"site-packages" not in graph
    for shape in ((1, 101, 77), (2, 64, 160), (3, 1, 33), (1, 250, 40)):
        frames = frames_of(shape, seed=shape[1])
        assert_equal_outputs(run_graph(proto, frames), expected_outputs(model, frames))


class _Boxes(torch.nn.Module):
    """The boxes of all levels, of offsets that are means of the pixels of each cell."""

    output_names = ["boxes"]
    network = SimpleNamespace(size_divisor=32)

    def forward(self, frames):
        x = frames.permute(0, 3, 1, 2)
        x = torch.nn.functional.pad(x, (0, -x.shape[3] % 4, 0, -x.shape[2] % 4)).mean(1, keepdim=True)
        maps = [x[..., ::stride, ::stride].expand(-1, 4, -1, -1) for stride in STRIDES]
        return flatten_levels([offsets_to_boxes(m, stride) for m, stride in zip(maps, STRIDES, strict=True)])


def test_ranged_graph_of_boxes_is_right_for_pictures_larger_and_smaller_than_the_traced_one(exporter):
    proto = exporter.graph_without_weights(_Boxes(), None)
    for shape in ((1, 64, 96), (1, 300, 420), (2, 420, 140)):  # P7 has 1x1, 3x4 and 4x2 locations
        frames = frames_of(shape).astype(np.float32)
        with torch.no_grad():
            expected = _Boxes()(torch.from_numpy(frames)).numpy()
        assert_equal_outputs(run_graph(proto, frames), [expected], tolerance=1e-6)


def test_weights_of_another_network_are_refused(exporter):
    network = exporter.prepare(tiny())
    proto = exporter.graph_without_weights(network, (1, 64, 64))
    wide = dataclasses.replace(load_config(SMALL), backbone="resnet18", num_stages=1, num_attention_blocks=1)
    with pytest.raises(ValueError, match=r"expected \(.*\) for this graph, found \("):
        exporter.fill_weights(proto, exporter.prepare(create_model(wide)))


def test_command(exporter, tmp_path, capsys, monkeypatch):
    import onnx

    from yoso_ros.cli import main

    model = tiny()
    weights, output = tmp_path / "weights.safetensors", tmp_path / "out" / "tiny.onnx"
    save_checkpoint(weights, model.state_dict(), model.config, {})
    yaml = tmp_path / "tiny.yaml"
    yaml.write_text(
        "architecture: yoso\nlabel_set: camvid\nbackbone: resnet18\npyramid_channels: [16, 16, 32, 32]\n"
        "aggregator_channels: 64\nhidden_dim: 128\nffn_dim: 512\nnum_proposals: 50\ntemperature: 0.1\n"
        "num_stages: 1\nnum_attention_blocks: 1\n"
    )
    base = ["export", "--model", str(yaml), "--weights", str(weights)]
    assert main([*base, "--output", str(output), "--size", "64x90", "--batch", "2"]) == 0
    assert "passed the ONNX checker" in capsys.readouterr().out
    Image.fromarray(frames_of((1, 50, 70))[0]).save(tmp_path / "picture.png")
    given = []
    compare = exporter.compare_with_network
    monkeypatch.setattr(exporter, "compare_with_network", lambda *a: given.append(a[3]) or compare(*a))
    again = ["--output", str(output), "--size", "64x90", "--batch", "2", "--compare", str(tmp_path / "picture.png")]
    assert main([*base, *again]) == 0 and [len(pictures) for pictures in given] == [1]
    assert np.array_equal(given[0][0], frames_of((1, 50, 70))[0])
    frames = frames_of((2, 64, 90))
    assert_equal_outputs(run_graph(onnx.load(output), frames), expected_outputs(model, frames))
    assert [path.name for path in output.parent.iterdir()] == ["tiny.onnx"]
    for arguments, message in (
        (
            ["--output", str(output), "--size", "64"],
            "--size: expected HxW in pixels such as 512x800, or ranged, found '64'",
        ),
        (["--output", str(output), "--batch", "0"], "--batch: expected 1 or more, found 0"),
        (["--output", "graph.pt"], "expected a file name that ends in .onnx, found graph.pt"),
    ):
        assert main([*base, *arguments]) == 2
        assert message in capsys.readouterr().err
