# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: round trip with provenance, IFA weights as CFA, official .pth, and files that are none of these."""

import dataclasses
import pickle

import pytest
import torch

from yoso_ros.checkpoint import load_weights, read_metadata, save_checkpoint, weights_hash
from yoso_ros.cli import main
from yoso_ros.errors import InputError
from yoso_ros.models import create_model, load_config

SMALL = "yoso_mobilenetv2_camvid"


def test_round_trip_with_story(tmp_path):
    config = load_config(SMALL)
    model, other = create_model(config), create_model(config)
    save_checkpoint(tmp_path / "w.safetensors", model.state_dict(), config, {"PQ": 1.5})
    load_weights(other, tmp_path / "w.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))
    provenance = {"PQ": 1.5, "weights_sha256": weights_hash(model.state_dict())}
    assert read_metadata(tmp_path / "w.safetensors") == (config, provenance)
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_hash_names_keys_types_shapes_and_values():
    import hashlib

    weights = {"b": torch.tensor([[1.5, -2.0]]), "a": torch.tensor(3)}
    text = b"a int64 []" + b"\x03" + 7 * b"\0" + b"b float32 [1, 2]" + bytes.fromhex("0000c03f000000c0")
    assert weights_hash(weights) == hashlib.sha256(text).hexdigest()
    assert weights_hash(dict(reversed(weights.items()))) == weights_hash(weights)


def test_changed_weights_are_refused(tmp_path):
    config = load_config(SMALL)
    model, path = create_model(config), tmp_path / "w.safetensors"
    save_checkpoint(path, model.state_dict(), config, {})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged or changed; get it again"):
        load_weights(model, path)


def test_interpolation_first_weights_run_convolution_first(tmp_path):
    cfa = load_config(SMALL)
    ifa = dataclasses.replace(cfa, aggregation="ifa")
    torch.manual_seed(0)
    trained, run = create_model(ifa).eval(), create_model(cfa).eval()
    save_checkpoint(tmp_path / "ifa.safetensors", trained.state_dict(), ifa, {})
    load_weights(run, tmp_path / "ifa.safetensors")
    images = 255 * torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected, found = trained(images), run(images)
    # float32: the forms add up in another order, and a hard mask may flip at a logit of about 1e-6.
    assert (expected.class_logits - found.class_logits).abs().max() < 1e-2


def test_official_checkpoint_through_convert(golden, monkeypatch, tmp_path, capsys):
    import json

    import numpy as np

    monkeypatch.syspath_prepend(str(golden))
    import fill

    keys = json.loads((golden / "keys_ade20k.json").read_text())
    state = {k: torch.from_numpy(np.asarray(fill.value(k, s))) for k, s, _ in keys}
    torch.save({"model": state, "iteration": 7}, tmp_path / "official.pth")
    arguments = ["--model", "yoso_r50_ade20k", "--output", str(tmp_path / "out.safetensors")]
    assert main(["convert", str(tmp_path / "official.pth"), *arguments]) == 0
    model = create_model(load_config("yoso_r50_ade20k"))
    load_weights(model, tmp_path / "out.safetensors")
    assert torch.equal(model.decoder.kernels.bias, state["yoso_head.kernels.bias"])
    assert read_metadata(tmp_path / "out.safetensors")[1]["converted_from"] == "official.pth"
    # The same file for another data set: one line, exit code 2.
    assert main(["convert", str(tmp_path / "official.pth"), "--model", "yoso_r50_coco", *arguments[2:]]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "expected shape (134,)" in error


class Malicious:
    """Unpickling it would run code."""

    def __reduce__(self):
        return (print, ("code was executed",))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.safetensors", b"nonsense", "expected a safetensors file"),
        ("a.pth", b"nonsense", "expected a PyTorch weights file"),
        ("a.pth", pickle.dumps(Malicious(), protocol=2), "expected a PyTorch weights file"),
    ],
)
def test_files_that_are_no_weights(tmp_path, capsys, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        load_weights(create_model(load_config(SMALL)), tmp_path / name)
    assert str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)
    assert "code was executed" not in capsys.readouterr().out


def test_malicious_archive_is_not_executed(tmp_path, capsys):
    torch.save({"model": Malicious()}, tmp_path / "bad.pth")
    with pytest.raises(InputError, match="without code"):
        load_weights(create_model(load_config(SMALL)), tmp_path / "bad.pth")
    assert "code was executed" not in capsys.readouterr().out


def test_foreign_safetensors_has_no_configuration(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="expected a yoso_ros checkpoint"):
        read_metadata(tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="keys do not fit the model: missing .*unexpected x"):
        load_weights(create_model(load_config(SMALL)), tmp_path / "x.safetensors")
