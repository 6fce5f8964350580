# SPDX-License-Identifier: Apache-2.0
"""Engine tests keep their graphs in a folder of their own, and share the one slow export for any frame size."""

import pytest


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory):
    """Cache folder of the session, which holds the graph of `tiny_graph` once that is made."""
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture(scope="session")
def tiny_graph(tiny_cache):
    """A small network and its graph for frames of any size: (`Yoso`, bytes)."""
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason=f"export needs {package}")
    from engine_cases import tiny

    from yoso_ros.inference.engine_cache import engine_graph

    model = tiny()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOSO_CACHE", str(tiny_cache))
        return model, engine_graph(model)
