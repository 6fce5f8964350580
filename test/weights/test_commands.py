# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros download` and `yoso-ros models`, and the ways in which Python and the node come to weights."""

import pytest
import torch

import yoso_ros
from yoso_ros.cli import main
from yoso_ros.errors import InputError
from yoso_ros.models import create_model, load_config, model_names
from yoso_ros.models.backbone import create_backbone
from yoso_ros.resources import share_path
from yoso_ros.weights import find
from yoso_ros.weights.sources import Source, Sources, load_sources
from yoso_ros.weights.store import file_digest, place_of


def test_every_source_says_what_a_user_must_know():
    sources = load_sources()
    assert set(sources.models) <= set(model_names())
    for source in (*sources.models.values(), *sources.hub.values()):
        assert source.data and source.licence and source.quality and source.use and source.limits
    for name, source in sources.backbones.items():
        create_backbone(name, "batch_norm")
        assert source.licence and f"-{source.sha256}.pth" in source.url
    for source in (*sources.models.values(), *sources.backbones.values()):
        assert source.url is None or (source.url.startswith("https://") and source.megabytes)


def test_table(capsys):
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [*model_names(), *(f"hf:{name}" for name in load_sources().hub)]
    assert [line.split()[0] for line in lines[1:]] == names
    row = dict(zip(names, lines[1:], strict=True))
    assert f"yoso-ros download {names[-1]}" in row[names[-1]] and "57.9 PQ" in row[names[-1]]
    assert "yoso-ros download yoso_r50_coco" in row["yoso_r50_coco"] and "48.4 PQ" in row["yoso_r50_coco"]
    assert "shipped" in row["yoso_mobilenetv2_camvid"]


def test_card_of_a_shipped_model(capsys):
    assert main(["models", "yoso_mobilenetv2_camvid"]) == 0
    card = capsys.readouterr().out
    for label in ("classes", "origin", "licence", "data", "command", "quality", "SHA-256", "use", "limits"):
        assert f"\n  {label} " in card
    assert "PQ 55.98" in card and "yoso-ros train camvid_mobilenetv2" in card


def test_card_of_a_model_that_is_not_here(capsys):
    assert main(["models", "yoso_r50_coco"]) == 0
    card = capsys.readouterr().out
    assert "not here: yoso-ros download yoso_r50_coco" in card and "SHA-256" not in card and "MIT" in card
    assert main(["models", "nothing"]) == 2
    assert "unknown model 'nothing'; known: " in capsys.readouterr().err


def test_card_of_a_file_of_ones_own(tmp_path, capsys):
    from yoso_ros.checkpoint import save_checkpoint

    config = load_config("yoso_mobilenetv2_camvid")
    provenance = {"data": "my hall", "validation": {"PQ": 12.5}}
    save_checkpoint(tmp_path / "own.safetensors", create_model(config).state_dict(), config, provenance)
    assert main(["models", str(tmp_path / "own.safetensors")]) == 0
    card = capsys.readouterr().out
    assert "my hall" in card and "PQ 12.5" in card and "licence" not in card


def test_download_of_a_model_and_its_card(server, monkeypatch, tmp_path, capsys):
    config = load_config("yoso_r50_coco")
    path = tmp_path / "mirror/yoso_res50_coco.pth"
    path.parent.mkdir()
    torch.save({"model": create_model(config).state_dict()}, path)
    monkeypatch.setenv("YOSO_MIRROR", str(path.parent))
    assert main(["download", "yoso_r50_coco"]) == 0
    digest = file_digest(path)
    assert digest in capsys.readouterr().out
    assert main(["models", "yoso_r50_coco"]) == 0
    card = " ".join(capsys.readouterr().out.split())
    assert str(path) in card and f"{digest} (the same as on 20" in card
    assert main(["models"]) == 0
    assert "in the cache" in capsys.readouterr().out


def test_download_of_a_file_of_another_model(server, monkeypatch, capsys):
    import io

    buffer = io.BytesIO()
    torch.save(create_model(load_config("yoso_mobilenetv2_camvid")).state_dict(), buffer)
    server.content = buffer.getvalue()
    monkeypatch.setenv("YOSO_MIRROR", server.url)
    assert main(["download", "yoso_r50_ade20k"]) == 2
    assert "do not fit the model" in capsys.readouterr().err
    assert not place_of(load_sources().models["yoso_r50_ade20k"]).exists()


def test_download_of_a_backbone_by_the_digest_in_its_name(server, monkeypatch, capsys):
    monkeypatch.setenv("YOSO_MIRROR", server.url)
    assert main(["download", "resnet18"]) == 2
    assert "expected SHA-256 f37072fd (config/weights.yaml), found" in capsys.readouterr().err
    assert main(["download", "resnet152"]) == 2
    assert "unknown model 'resnet152'; known: yoso_r50_coco" in capsys.readouterr().err


@pytest.fixture
def small_model(server, monkeypatch, tmp_path):
    """Path of a model configuration whose weights are on the server."""
    text = (share_path("config/models") / "yoso_mobilenetv2_camvid.yaml").read_text()
    path = tmp_path / "small.yaml"
    path.write_text(text.replace("shortest_edge: 360", "shortest_edge: 64"))
    torch.manual_seed(0)
    torch.save(create_model(load_config(path)).state_dict(), tmp_path / "small.pth")
    server.content = (tmp_path / "small.pth").read_bytes()
    sources = Sources(models={"small": Source(name="small", url=f"{server.url}/small.pth")})
    monkeypatch.setattr(find, "load_sources", lambda: sources)
    return path


def test_python_fetches_by_itself(server, small_model):
    import numpy as np

    segmenter = yoso_ros.load_segmenter(small_model, engine="torch", device="cpu")
    segmenter(np.zeros((64, 64, 3), np.uint8))
    yoso_ros.load_segmenter(small_model, engine="torch", device="cpu")
    assert server.requests == [("/small.pth", None)]


def test_and_does_not_where_it_may_not(server, small_model):
    with pytest.raises(InputError, match="the weights of small are not here: run `yoso-ros download small`; without"):
        yoso_ros.load_segmenter(small_model, engine="torch", device="cpu", download=False)
    assert not server.requests


def test_a_model_of_which_no_weights_are_known(small_model):
    with pytest.raises(InputError, match="no weights are known for the model other: give weights=FILE"):
        yoso_ros.load_segmenter(small_model.rename(small_model.with_name("other.yaml")))
