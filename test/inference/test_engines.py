# SPDX-License-Identifier: Apache-2.0
"""Every engine equals the network for frames of any size; `auto` picks by what is present; the graph cache.

Random weights compare two ways to compute the same, nothing else.
"""

import copy
import dataclasses
import logging
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from engine_cases import assert_equal_outputs, expected_outputs, frames_of, network

from yoso_ros.errors import InputError
from yoso_ros.inference import Segmenter, engine_cache
from yoso_ros.inference import engines as engines_room
from yoso_ros.inference.engines import create_engine
from yoso_ros.inference.preprocess import batch_frames
from yoso_ros.models import load_config

GRAPH_ENGINES = ("openvino", "onnxruntime")
SHAPES = ((1, 101, 77), (2, 64, 160), (1, 1, 33), (1, 101, 77))


@pytest.fixture
def cached(tiny_graph, tiny_cache, monkeypatch):
    """The small network; an engine made from it finds its graph in the cache."""
    monkeypatch.setenv("YOSO_CACHE", str(tiny_cache))
    monkeypatch.setattr(engine_cache, "graph_without_weights", lambda *a: pytest.fail("exported again"))
    return tiny_graph[0]


def outputs_of(engine, model, frames):
    return [t.numpy() for t in engine(batch_frames(list(frames), model.config.pixel_mean, 32))]


@pytest.mark.parametrize("name", ("torch", *GRAPH_ENGINES))
def test_engine_equals_the_network_for_frames_of_any_size(name, request):
    if name in GRAPH_ENGINES:
        pytest.importorskip(name, reason=f"needs {name}")
        model = request.getfixturevalue("cached")
    else:
        from engine_cases import tiny

        model = tiny()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    engine = create_engine(name, model, "cpu", "fp32")
    assert engine.backend == f"{name}-cpu-fp32" and engine.device == torch.device("cpu")
    kept = []
    for index, shape in enumerate(SHAPES):
        frames = frames_of(shape, seed=index)
        outputs, expected = outputs_of(engine, model, frames), expected_outputs(model, frames)
        assert all(o.dtype == np.float32 for o in outputs)
        assert_equal_outputs(outputs, expected)
        kept.append((outputs, expected))
    engine.synchronize()
    for outputs, expected in kept:  # a later call has not written over them
        assert_equal_outputs(outputs, expected)
    after = model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_segmenter_gives_the_same_results_for_frames_of_different_sizes(name, cached):
    pytest.importorskip(name, reason=f"needs {name}")
    model = copy.deepcopy(cached)
    for stage in model.decoder.stages:
        torch.nn.init.normal_(stage.class_predictor.weight, std=2.0)  # not all void
    config = dataclasses.replace(model.config, score_threshold=0.05, overlap_threshold=0.1, shortest_edge=120)
    frames = [frames_of((1, *size))[0] for size in ((101, 77), (60, 133))]
    expected = Segmenter(config, create_engine("torch", model, "cpu", "fp32")).batch(frames)
    actual = Segmenter(config, create_engine(name, model, "cpu", "fp32")).batch(frames)
    for a, e in zip(actual, expected, strict=True):
        assert len(e.segments) > 1
        assert (a.panoptic != e.panoptic).mean() < 1e-3


def test_openvino_computes_in_float32_unless_asked(cached):
    pytest.importorskip("openvino", reason="needs openvino")
    frames = frames_of((1, 64, 96))
    expected = expected_outputs(cached, frames)
    exact = outputs_of(create_engine("openvino", cached, "cpu", "auto"), cached, frames)
    engine = create_engine("openvino", cached, "cpu", "bf16")
    assert engine.backend == "openvino-cpu-bf16"
    # bfloat16 has 8 bits of mantissa and cannot come this close.
    assert_equal_outputs(exact, expected, tolerance=1e-4)
    errors = [
        np.abs(a - e).max() / np.abs(e).max() for a, e in zip(outputs_of(engine, cached, frames), expected, strict=True)
    ]
    assert all(np.isfinite(errors))


def test_openvino_graph_for_bfloat16_is_equal_and_has_no_transposed_convolution(cached):
    pytest.importorskip("openvino", reason="needs openvino")
    from yoso_ros.inference import openvino_graph

    graphs = {kind: openvino_graph.read_graph(cached, kind) for kind in ("openvino", "openvino-bf16")}
    kinds = {kind: [node.get_type_name() for node in graph.get_ops()] for kind, graph in graphs.items()}
    assert kinds["openvino"].count("ConvolutionBackpropData") == 3 and "DepthToSpace" not in kinds["openvino"]
    assert "ConvolutionBackpropData" not in kinds["openvino-bf16"] and kinds["openvino-bf16"].count("DepthToSpace") == 3
    assert len(openvino_graph.offset_nodes(graphs["openvino-bf16"], "Convolution")) == 3
    in_float32 = openvino_graph.process_core().compile_model(
        graphs["openvino-bf16"], "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    for shape in ((1, 64, 96), (2, 33, 70)):
        frames = frames_of(shape)
        images = batch_frames(list(frames), cached.config.pixel_mean, 32).permute(0, 2, 3, 1).contiguous().numpy()
        actual = in_float32(images)
        assert_equal_outputs([actual[0], actual[1]], expected_outputs(cached, frames), tolerance=1e-4)


@pytest.mark.parametrize(
    ("name", "device", "precision", "message"),
    [
        ("openvino", "cpu", "fp16", "precision fp16 is not one of the openvino engine; it runs fp32, bf16 and int8"),
        ("onnxruntime", "auto", "bf16", "precision bf16 is not one of the onnxruntime engine; it runs fp32"),
        ("onnxruntime", "tpu", "auto", "device: expected auto, cpu, cuda"),
        ("tensorflow", "cpu", "auto", "engine: expected one of auto, torch, openvino, onnxruntime, tensorrt, found"),
    ],
)
def test_what_an_engine_cannot_do_is_said(name, device, precision, message):
    if name in GRAPH_ENGINES:
        pytest.importorskip(name, reason=f"needs {name}")
    with pytest.raises(InputError, match=message):
        create_engine(name, None, device, precision)


def test_missing_package_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"engine openvino: its package is missing .*install yoso-ros\[cpu,onnx\]"):
        create_engine("openvino", None, "cpu", "auto")


@pytest.mark.skipif(torch.cuda.is_available(), reason="auto takes CUDA here")
@pytest.mark.parametrize("missing", [(), ("openvino",), ("openvino", "onnxruntime")], ids=str)
def test_auto_takes_the_fastest_that_is_present_and_says_why(cached, monkeypatch, caplog, missing):
    for name in GRAPH_ENGINES:
        pytest.importorskip(name, reason=f"needs {name}")
    for package in missing:
        monkeypatch.setitem(sys.modules, package, None)
    expected = ("openvino", "onnxruntime", "torch")[len(missing)]
    with caplog.at_level(logging.INFO, logger="yoso_ros"):
        assert create_engine("auto", cached, "auto", "auto").backend == f"{expected}-cpu-fp32"
    (line,) = [r.getMessage() for r in caplog.records if r.name == engines_room.__name__]
    assert "; no CUDA device found" in line
    warned = [r for r in caplog.records if r.levelno == logging.WARNING and "pip install openvino" in r.getMessage()]
    assert len(warned) == (expected == "torch"), "torch in the place of OpenVINO is said loudly"
    assert f"engine {expected}-cpu-fp32" in line and all(f"no {package}: " in line for package in missing)


@pytest.mark.parametrize(
    ("device", "missing"), [("auto", 0), ("auto", 1), ("auto", 3), ("auto", 4), ("cuda", 0), ("cuda", 1), ("cuda", 2)]
)
def test_auto_on_a_cuda_device_tries_it_first(monkeypatch, caplog, missing, device):
    """Engines that only have names: TensorRT, torch on the device, then those of the CPU where the device is open."""
    order = [("tensorrt", "cuda"), ("torch", "cuda"), ("openvino", "cpu"), ("onnxruntime", "cpu"), ("torch", "cpu")]
    order = order if device == "auto" else order[:2]
    made = []

    def create(name, model, place, precision, **options):
        made.append((name, place))
        assert set(options) == ({"fallback"} if name == "tensorrt" else set())
        if made[-1] in order[:missing]:
            raise RuntimeError(f"{name} is\nnot here")
        return SimpleNamespace(backend=f"{name}-{place}-fp32", device=torch.device(place))

    monkeypatch.setattr(engines_room, "find_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(engines_room, "_create", create)
    if missing == len(order):
        with pytest.raises(RuntimeError, match="torch is\nnot here"):
            create_engine("auto", None, device, "auto")
        return
    with caplog.at_level(logging.INFO, logger="yoso_ros"):
        engine = create_engine("auto", None, device, "auto")
    assert made == order[: missing + 1] and engine.backend == "{}-{}-fp32".format(*order[missing])
    (line,) = [r.getMessage() for r in caplog.records if r.name == engines_room.__name__]
    left_out = "".join(f"; no {name}: {name} is not here" for name, _ in order[:missing])
    assert line == f"engine {engine.backend}: the fastest that is present for device {order[missing][1]}{left_out}"


def test_auto_falls_back_to_torch_without_openvino_and_export(tiny_graph, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("YOSO_CACHE", str(tmp_path))
    for package in ("openvino", "onnxscript"):
        monkeypatch.setitem(sys.modules, package, None)
    with caplog.at_level(logging.INFO, logger="yoso_ros"):
        assert create_engine("auto", tiny_graph[0], "cpu", "auto").backend == "torch-cpu-fp32"
    assert 'export needs the packages of the extra "onnx"' in caplog.text


def test_kept_graph_serves_other_weights_of_the_same_network(cached, tiny_cache):
    onnx = pytest.importorskip("onnx")
    other = network(cached.config)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.1)
    graph = onnx.load_from_string(engine_cache.engine_graph(other))  # `cached` fails the test on an export
    frames = frames_of((1, 64, 90))
    from engine_cases import run_graph

    assert_equal_outputs(run_graph(graph, frames.astype(np.float32)), expected_outputs(other, frames))
    (path,) = tiny_cache.glob("*.onnx")
    assert path.stat().st_size < 1e6, "the weights are kept too"


def test_key_follows_the_structure_and_not_the_thresholds():
    config = load_config("yoso_mobilenetv2_camvid")

    def key(**changes):
        return engine_cache.structure_key(network(dataclasses.replace(config, **changes)))

    assert key() == key(score_threshold=0.1, shortest_edge=100, name="other")
    assert len({key(), key(num_stages=1), key(temperature=0.2), key(num_proposals=49)}) == 4


def test_broken_or_unwritable_cache_is_no_obstacle(tiny_graph, tiny_cache, monkeypatch, tmp_path, caplog):
    model, graph = tiny_graph
    (kept,) = tiny_cache.glob("*.onnx")
    onnx = pytest.importorskip("onnx")
    monkeypatch.setattr(engine_cache, "graph_without_weights", lambda *a: onnx.load(kept))
    monkeypatch.setenv("YOSO_CACHE", str(tmp_path))
    (tmp_path / kept.name).write_bytes(kept.read_bytes()[:1000])
    assert engine_cache.engine_graph(model) == graph
    assert "making it again" in caplog.text
    assert (tmp_path / kept.name).read_bytes() == kept.read_bytes()
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("YOSO_CACHE", str(tmp_path / "file"))
    assert engine_cache.engine_graph(model) == graph
    assert "cannot be written" in caplog.text


def test_benchmark_suggests_what_is_fast_and_no_lower_precision_for_nothing():
    from yoso_ros.benchmark.engines import EngineTime, suggest

    def suggestion(device="cpu", **times):
        rows = [EngineTime(name.replace("_", "-"), ms, ms) for name, ms in times.items()]
        return suggest([EngineTime("torch, not folded", 1.0, 1.0), *rows], device)

    exact = "engine:=openvino precision:=fp32"
    slow = suggestion(torch_cpu_fp32=70.0, openvino_cpu_fp32=40.0, openvino_cpu_bf16=39.0, openvino_cpu_int8=41.0)
    assert slow == (exact, exact, 1.0)  # as on a CPU without bfloat16 and VNNI
    fast = suggestion(openvino_cpu_fp32=40.0, openvino_cpu_bf16=30.0, openvino_cpu_int8=20.0)
    assert fast == ("engine:=openvino precision:=int8", exact, 2.0)
    assert suggestion("cuda:1", torch_cuda_fp16=2.0)[0] == "engine:=torch precision:=fp16 device:=cuda:1"
    assert suggestion() is None


def test_a_precision_that_the_processor_has_no_instructions_for_is_said(monkeypatch, caplog):
    """The captions of measurements name the same instructions."""
    from yoso_ros import processor
    from yoso_ros.inference.engines import openvino

    lines = {"model name": "Some CPU", "flags": "sse avx2 avx512f"}
    monkeypatch.setattr(processor, "_line_of_cpuinfo", lines.get)
    assert re.fullmatch(r"Some CPU, \d+ cores, AVX2, AVX-512, no VNNI, no bfloat16", processor.processor_line())
    monkeypatch.setattr(openvino, "OpenVinoEngine", lambda *arguments: arguments)
    for precision, feature in (("fp32", None), ("int8", "VNNI"), ("bf16", "fast bfloat16")):
        caplog.clear()
        openvino.create_engine(None, "cpu", precision)
        assert [r.args[0] for r in caplog.records] == ([feature] if feature else [])
    lines["flags"] = "avx2 avx_vnni"
    caplog.clear()
    openvino.create_engine(None, "cpu", "int8")
    lines["flags"] = ""  # not x86: nothing is known
    openvino.create_engine(None, "cpu", "bf16")
    assert not caplog.records


@pytest.mark.parametrize(
    ("vendor", "flags", "fast"),
    [
        ("GenuineIntel", "avx512f avx512_bf16 amx_bf16", True),
        ("GenuineIntel", "avx512f avx512_bf16", False),
        ("AuthenticAMD", "avx512f avx512_bf16", True),
        ("AuthenticAMD", "avx2", False),
        ("", "", None),  # not x86
    ],
)
def test_where_bfloat16_is_fast_int8_uses_it_for_its_float_parts(monkeypatch, vendor, flags, fast):
    from yoso_ros import processor
    from yoso_ros.inference.engines import openvino as engine

    monkeypatch.setattr(processor, "_line_of_cpuinfo", {"vendor_id": vendor, "flags": flags}.get)
    assert processor.bfloat16_is_fast() is fast
    core = SimpleNamespace(get_property=lambda *names: ["FP32", "BF16", "INT8"])
    monkeypatch.setattr(engine, "process_core", lambda: core)
    given = []
    compiled = SimpleNamespace(create_infer_request=lambda: None)
    monkeypatch.setattr(engine, "compile_graph", lambda *arguments: given.append(arguments[2]) or compiled)
    config = SimpleNamespace(graph_is_sized=False, input_shape=None)
    model = SimpleNamespace(Outputs=tuple, size_divisor=32, config=config)
    for precision in ("fp32", "bf16", "int8"):
        engine.OpenVinoEngine(model, precision, 2)
    hints = [options["INFERENCE_PRECISION_HINT"] for options in given]
    assert hints == ["f32", "bf16", "f32" if fast is False else "bf16"]


def test_benchmark_times_each_engine_and_says_what_it_leaves_out(tiny_graph, monkeypatch):
    from yoso_ros.benchmark.engines import BASELINE, create_engines, measure_engines

    model = tiny_graph[0]
    engines, reasons = create_engines(model, "cpu", ["torch", "torch:fp16", "magic"])
    assert list(engines) == [BASELINE, "torch-cpu-fp32"]
    assert "torch:fp16: precision fp16 needs a CUDA device" in reasons[0] and "magic" in reasons[1]
    frames = frames_of((1, 64, 96))
    assert_equal_outputs(outputs_of(engines[BASELINE], model, frames), expected_outputs(model, frames))
    now = [0.0]
    monkeypatch.setattr("yoso_ros.benchmark.engines.time.perf_counter", lambda: now[0])
    monkeypatch.setattr("yoso_ros.benchmark.engines.time.process_time", lambda: now[0] / 5)
    calls = {"short": lambda images: now.append(now.pop() + 0.01), "long": lambda images: now.append(now.pop() + 0.05)}
    short, long = measure_engines(calls, None, rounds=3)
    assert (short.wall_ms, long.wall_ms) == pytest.approx((10, 50)) and long.processor_ms == pytest.approx(10)
    assert (short.least_wall_ms, long.least_processor_ms) == pytest.approx((10, 10))
