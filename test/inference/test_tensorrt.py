# SPDX-License-Identifier: Apache-2.0
"""The TensorRT engine up to the library's edge, with a stand-in for the library (fake_tensorrt.py).

Nothing here says that TensorRT itself takes the graph; random weights compare two ways to compute the same.
"""

import dataclasses
import json
import logging
import sys

import pytest
import torch
from engine_cases import assert_equal_outputs, expected_outputs, frames_of, tiny
from fake_tensorrt import fake_tensorrt

from yoso_ros.errors import InputError
from yoso_ros.inference import Segmenter, tensorrt_build
from yoso_ros.inference.device_path import DevicePath
from yoso_ros.inference.engine_files import read_engine, write_engine
from yoso_ros.inference.engines import create_engine
from yoso_ros.inference.engines import tensorrt as engine_module
from yoso_ros.inference.engines.tensorrt import TensorRtEngine
from yoso_ros.inference.kept_files import write_kept
from yoso_ros.inference.preprocess import batch_frames

SHAPE = (1, 64, 96)
CPU = torch.device("cpu")
VERSIONS = ("10.16.1.11", "11.4.0.106")


@pytest.fixture(scope="session")
def graphs(tmp_path_factory):
    """A small network, and a cache folder in which its graph of `SHAPE` is made once."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"the tests need {package}")
    return tiny(), tmp_path_factory.mktemp("graphs")


@pytest.fixture
def model(graphs, tmp_path, monkeypatch):
    """The small network; the cache folder of the test holds its graph and nothing else."""
    monkeypatch.setenv("YOSO_CACHE", str(graphs[1]))
    engine_module.engine_graph(graphs[0], SHAPE, "tensorrt")
    for path in graphs[1].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setenv("YOSO_CACHE", str(tmp_path))
    return graphs[0]


def run(engine, model, frames):
    return [t.numpy() for t in engine(batch_frames(list(frames), model.config.pixel_mean, 32))]


def count(trt, name):
    return [call[0] for call in trt.calls].count(name)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("fp16", 0.2)])
def test_engine_is_built_once_and_equals_the_network(model, tmp_path, caplog, version, precision, tolerance):
    trt = fake_tensorrt(version)
    engine = TensorRtEngine(trt, model, CPU, precision)
    assert engine.backend == f"tensorrt-cpu-{precision}" and not count(trt, "build")
    with caplog.at_level(logging.INFO, logger="yoso_ros"):
        for seed in range(2):
            frames = frames_of(SHAPE, seed)
            assert_equal_outputs(run(engine, model, frames), expected_outputs(model, frames), tolerance)
    assert count(trt, "build") == 1 and "building the TensorRT engine" in caplog.text
    assert "there is none yet" in caplog.text and "built in" in caplog.text
    assert ("clear_flag", trt.BuilderFlag.TF32) in trt.calls or precision != "fp32"
    assert ("set_memory_pool_limit", "workspace", 2 << 30) in trt.calls
    (kept,) = tmp_path.glob("*.engine")
    assert not list(tmp_path.glob("*.tmp"))
    again = fake_tensorrt(version)
    frames = frames_of(SHAPE, 5)
    second = TensorRtEngine(again, model, CPU, precision)
    assert_equal_outputs(run(second, model, frames), expected_outputs(model, frames), tolerance)
    assert not count(again, "build") and count(again, "deserialize") == 1
    assert list(tmp_path.glob("*.engine")) == [kept]


def test_each_version_precision_and_weights_have_an_engine_of_their_own(model, tmp_path):
    frames = frames_of(SHAPE)
    other = tiny()
    with torch.no_grad():
        other.decoder.kernels.bias.add_(1.0)
    for version, network, precision in (
        (VERSIONS[0], model, "fp32"),
        (VERSIONS[1], model, "fp32"),
        (VERSIONS[0], model, "fp16"),
        (VERSIONS[0], other, "fp32"),
    ):
        run(TensorRtEngine(fake_tensorrt(version), network, CPU, precision), network, frames)
    assert len(list(tmp_path.glob("*.engine"))) == 4
    # Measurements of layers are those of a version and a GPU, for all networks.
    assert sorted(p.name for p in tmp_path.glob("*.timing")) == [f"tensorrt-{v}-none.timing" for v in VERSIONS]


def test_measurements_of_earlier_builds_are_used(model, tmp_path):
    write_kept(tmp_path / "tensorrt-11.4.0.106-none.timing", b"earlier")
    trt = fake_tensorrt("11.4.0.106")
    run(TensorRtEngine(trt, model, CPU, "fp32"), model, frames_of(SHAPE))
    assert ("create_timing_cache", b"earlier") in trt.calls
    assert (tmp_path / "tensorrt-11.4.0.106-none.timing").read_bytes() == b"earlier+timings"


def test_stale_and_broken_files_are_built_again_with_the_reason(model, tmp_path, caplog):
    path, frames = tmp_path / "sub" / "mine.engine", frames_of(SHAPE)

    def reason(version="11.4.0.106", **options):
        caplog.clear()
        trt = fake_tensorrt(version)
        with caplog.at_level(logging.INFO, logger="yoso_ros"):
            outputs = run(TensorRtEngine(trt, model, CPU, "fp32", engine_path=path, **options), model, frames)
        assert_equal_outputs(outputs, expected_outputs(model, frames))
        lines = [r.getMessage() for r in caplog.records if "building the TensorRT engine" in r.getMessage()]
        assert len(lines) == count(trt, "build")
        return lines[0].partition("takes minutes: ")[2] if lines else None

    assert reason() == "there is none yet"
    assert reason() is None and not list(tmp_path.glob("*.engine"))
    assert reason("10.16.1.11") == "tensorrt was 11.4.0.106, is 10.16.1.11"
    assert reason("10.16.1.11", force_rebuild=True) == "a rebuild was requested"
    content = path.read_bytes()
    for damaged, words in (
        (content[:-9] + b"\0" * 9, "it is damaged"),
        (content[:40], "its header is damaged"),
        (b"", "its header is damaged"),
    ):
        path.write_bytes(damaged)
        assert words in reason("10.16.1.11")
    assert reason("10.16.1.11") is None


def test_engine_that_tensorrt_cannot_load_is_built_again(model, tmp_path, caplog):
    path = tmp_path / "mine.engine"
    frames = frames_of(SHAPE)
    trt = fake_tensorrt("11.4.0.106")
    run(TensorRtEngine(trt, model, CPU, "fp32", engine_path=path), model, frames)
    key = json.loads(path.read_bytes().split(b"\n")[1])["key"]
    write_engine(path, key, b"not a plan")
    with caplog.at_level(logging.INFO, logger="yoso_ros"):
        outputs = run(TensorRtEngine(trt, model, CPU, "fp32", engine_path=path), model, frames)
    assert "TensorRT cannot load it" in caplog.text
    assert_equal_outputs(outputs, expected_outputs(model, frames))


def test_file_of_someone_else_is_not_overwritten(model, tmp_path):
    path = tmp_path / "other.engine"
    path.write_bytes(b"ftrt and much more")
    engine = TensorRtEngine(fake_tensorrt("11.4.0.106"), model, CPU, "fp32", engine_path=path)
    with pytest.raises(InputError, match="expected an engine file that yoso_ros wrote, found another file"):
        run(engine, model, frames_of(SHAPE))
    assert path.read_bytes() == b"ftrt and much more"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("parse", "TensorRT 11.4.0.106 cannot read the graph: In node 7: unsupported operator"),
        ("build", "TensorRT 11.4.0.106 cannot build an engine from the graph"),
        ("deserialize", "TensorRT 11.4.0.106 cannot load the engine that it has built"),
    ],
)
def test_what_fails_is_said_and_auto_goes_on_without(model, tmp_path, caplog, step, message):
    trt = fake_tensorrt("11.4.0.106")
    trt.fail.add(step)
    frames = frames_of(SHAPE)
    with pytest.raises(InputError, match=message):
        run(TensorRtEngine(trt, model, CPU, "fp32"), model, frames)
    assert not list(tmp_path.glob("*.engine"))
    from yoso_ros.inference.engines.torch_cuda import TorchCudaEngine

    engine = TensorRtEngine(trt, model, CPU, "fp32", fallback=lambda: TorchCudaEngine(model, CPU, "fp32"))
    for _ in range(2):
        assert_equal_outputs(run(engine, model, frames), expected_outputs(model, frames))
    warnings = [r.getMessage() for r in caplog.records if "from now on: no TensorRT engine" in r.getMessage()]
    assert len(warnings) == 1 and message in warnings[0]


def test_run_that_fails_is_said(model):
    trt = fake_tensorrt("11.4.0.106")
    trt.fail.add("execute")
    with pytest.raises(RuntimeError, match="could not run the engine"):
        run(TensorRtEngine(trt, model, CPU, "fp32"), model, frames_of(SHAPE))


def test_whole_way_of_a_frame(model):
    for stage in model.decoder.stages:
        torch.nn.init.normal_(stage.class_predictor.weight, std=2.0)
    config = dataclasses.replace(model.config, score_threshold=0.05, overlap_threshold=0.1, shortest_edge=60)
    frame = frames_of((1, 90, 130))[0]  # 60x87 in the network, 64x96 padded
    expected = Segmenter(config, create_engine("torch", model, "cpu", "fp32"))(frame)
    on_device = Segmenter(config, TensorRtEngine(fake_tensorrt("11.4.0.106"), model, CPU, "fp32"))
    on_device._path = DevicePath(config, on_device.engine)
    actual = on_device(frame)
    assert len(expected.segments) > 1 and (actual.panoptic != expected.panoptic).mean() < 2e-3


def test_progress_is_told(model, monkeypatch, caplog):
    monkeypatch.setattr(tensorrt_build, "PROGRESS_PERIOD_S", 0.0)
    with caplog.at_level(logging.INFO, logger="yoso_ros"):
        run(TensorRtEngine(fake_tensorrt("10.16.1.11"), model, CPU, "fp32"), model, frames_of(SHAPE))
    assert "building the TensorRT engine: Building Engine 0 of 2, Timing 3 of 3" in caplog.text
    without = fake_tensorrt("11.4.0.106", progress=False)
    run(TensorRtEngine(without, model, CPU, "fp32"), model, frames_of(SHAPE))
    assert count(without, "build") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_a_device_the_library_is_not_touched(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # an import would raise
    with pytest.raises(InputError, match="the tensorrt engine needs a CUDA device, and torch finds none here"):
        create_engine("tensorrt", None, "auto", "auto")


def test_missing_library_and_bad_arguments_are_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(InputError, match=r"engine tensorrt: its package is missing .*yoso-ros\[tensorrt,onnx\]") as e:
        create_engine("tensorrt", None, "cuda", "auto")
    assert "\n" not in str(e.value)
    for arguments, message in (
        (("tensorrt", None, "cpu", "auto"), "runs on a CUDA device, not on cpu"),
        (("tensorrt", None, "cuda", "int8"), "precision int8 is not one of the tensorrt engine; it runs fp32, fp16"),
        (("torch", None, "cpu", "auto", "x.engine"), "engine_path and force_rebuild are of engine tensorrt"),
        (("auto", None, "cpu", "auto", None, True), "engine_path and force_rebuild are of engine tensorrt"),
    ):
        with pytest.raises(InputError, match=message):
            create_engine(*arguments)


def test_engine_files_name_what_changed(tmp_path):
    path, key = tmp_path / "a.engine", {"gpu": "A", "shape": [1, 64, 96]}
    assert read_engine(path, key) == (None, "there is none yet")
    write_engine(path, key, b"x\ny")
    assert read_engine(path, key) == (b"x\ny", None)
    _, reason = read_engine(path, {"gpu": "B", "shape": (1, 96, 64)})
    assert reason == "gpu was A, is B; shape was [1, 64, 96], is [1, 96, 64]"


def test_names_that_tensorrt_11_removed_are_not_there():
    """The stand-in itself: it would notice their use."""
    ten, eleven = (fake_tensorrt(version) for version in VERSIONS)
    assert ten.BuilderFlag.FP16 is not None and ten.NetworkDefinitionCreationFlag.EXPLICIT_BATCH is not None
    for holder, name in ((eleven.BuilderFlag, "FP16"), (eleven.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH")):
        with pytest.raises(AttributeError):
            getattr(holder, name)
