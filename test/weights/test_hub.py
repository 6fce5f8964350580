# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of the hub: fetched from a server on 127.0.0.1, found again without a network, refused in one line."""

import contextlib
import hashlib
import http.server
import json
import threading

import pytest
from hub_checkpoints import write_checkpoint

from yoso_ros.cli import main
from yoso_ros.errors import InputError
from yoso_ros.inference.segmenter import load_network
from yoso_ros.models import load_config
from yoso_ros.weights.find import find_weights
from yoso_ros.weights.hub import source_folder, source_name
from yoso_ros.weights.store import weights_digest

pytest.importorskip("transformers", reason="needs transformers (yoso-ros[hub])")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = "hf:robots/eomt-tiny"


def tree_entry(path):
    digest = hashlib.sha1(path.read_bytes()).hexdigest()
    return {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": digest}


@contextlib.contextmanager
def hub_of(folder, monkeypatch):
    """A hub that has one repository, robots/eomt-tiny; yields the paths that were asked for."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            files = sorted(folder.iterdir())
            if self.path.startswith("/api/models/robots/eomt-tiny/revision/"):
                names = [{"rfilename": path.name} for path in files]
                return self.answer(json.dumps({"id": "robots/eomt-tiny", "sha": COMMIT, "siblings": names}).encode())
            if self.path.startswith("/api/models/robots/eomt-tiny/tree/"):
                return self.answer(json.dumps([tree_entry(path) for path in files]).encode())
            path = folder / self.path.rpartition("/")[2]
            if self.path.startswith("/robots/eomt-tiny/resolve/") and path.is_file():
                return self.answer(path.read_bytes())
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_HEAD(self):
            self.do_GET()

        def answer(self, body):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    from huggingface_hub import constants

    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}", raising=False
    )
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_from_the_hub_into_the_cache_and_from_there_without_a_network(tmp_path, monkeypatch, capsys):
    published = tmp_path / "published"
    write_checkpoint("eomt", published)
    (published / "pytorch_model.bin").write_bytes(b"a pickle")
    (published / "modeling.py").write_text("raise SystemExit")
    with pytest.raises(InputError, match=rf"{MODEL} is not here: run `yoso-ros download {MODEL}`; without a network"):
        load_config(MODEL, download=False)
    with hub_of(published, monkeypatch) as asked:
        assert load_config(MODEL).source == f"{MODEL}@{COMMIT}"
        assert not any("safetensors" in path for path in asked), "the configuration needs no weights"
        with pytest.raises(InputError, match="is not here: run"):
            load_network(MODEL, download=False)
        assert main(["download", MODEL]) == 0
        assert not any(name in path for path in asked for name in ("pytorch_model", "modeling"))
        with pytest.raises(InputError, match="no such model"):
            load_config("hf:robots/other")
        (published / "model.safetensors").unlink()
    monkeypatch.setenv("YOSO_OFFLINE", "1")
    network = load_network(MODEL)
    assert (network.config.name, network.config.num_proposals) == ("robots--eomt-tiny", 12)
    pinned = f"{MODEL}@{COMMIT}"
    assert len(weights_digest(find_weights(load_config(pinned), download=False))) == 64
    with pytest.raises(InputError, match="YOSO_OFFLINE is set and hf:robots/other is not here"):
        load_config("hf:robots/other")
    assert main(["models", MODEL]) == 0
    card = capsys.readouterr().out
    assert pinned in card and "(model.safetensors)" in card and "19 of cityscapes" in card


def test_a_repository_with_pickled_weights_only_is_refused(tmp_path, monkeypatch):
    published = tmp_path / "published"
    write_checkpoint("eomt", published)
    (published / "model.safetensors").rename(published / "pytorch_model.bin")
    with hub_of(published, monkeypatch), pytest.raises(InputError, match="pickled weights are never downloaded"):
        load_network(MODEL)


def test_names_of_sources():
    assert source_name("hf:facebook/mask2former-swin-tiny@v1") == "facebook--mask2former-swin-tiny"
    for wrong in ("hf:facebook", "hf:a/b/c", "hf:a/b@", "hf:../b"):
        with pytest.raises(InputError, match="expected hf:ORG/NAME"):
            source_folder(wrong, download=False)
