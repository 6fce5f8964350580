# SPDX-License-Identifier: Apache-2.0
"""What a start does not do twice, and what it tells while it takes long."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from engine_cases import frames_of, tiny
from patience import PATIENCE_S

from yoso_ros.inference import engine_cache, long_steps
from yoso_ros.inference.engines import create_engine
from yoso_ros.inference.preprocess import batch_frames
from yoso_ros.inference.segmenter import load_network


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_second_start_of_openvino_reads_what_the_first_compiled(precision, tmp_path, monkeypatch):
    pytest.importorskip("openvino", reason="needs openvino")
    from yoso_ros.inference import openvino_graph

    model = tiny()
    monkeypatch.setenv("YOSO_CACHE", str(tmp_path))
    images = batch_frames(list(frames_of((2, 64, 90))), model.config.pixel_mean, 32)
    expected = [t.numpy() for t in create_engine("openvino", model, "cpu", precision)(images)]
    (folder,) = tmp_path.glob("*-openvino*")
    (compiled,) = (folder / openvino_graph.COMPILED_FOLDER).iterdir()
    for name in ("convert", "read_graph"):
        monkeypatch.setattr(openvino_graph, name, lambda *a: pytest.fail("converted or read again"))
    written = compiled.stat().st_mtime_ns
    outputs = create_engine("openvino", model, "cpu", precision)(images)
    assert all(np.array_equal(a.numpy(), e) for a, e in zip(outputs, expected, strict=True))
    assert list(compiled.parent.iterdir()) == [compiled] and compiled.stat().st_mtime_ns == written
    # A damaged one is no obstacle.
    content = compiled.read_bytes()
    compiled.unlink()
    compiled.write_bytes(content[: len(content) // 2])
    outputs = create_engine("openvino", model, "cpu", precision)(images)
    assert all(np.array_equal(a.numpy(), e) for a, e in zip(outputs, expected, strict=True))


def test_weights_that_are_loaded_are_not_made_up_before():
    before = torch.get_rng_state()
    network = load_network("yoso_mobilenetv2_synthetic")
    assert torch.equal(torch.get_rng_state(), before)
    assert all(tensor.isfinite().all() for tensor in network.state_dict().values())


def test_engines_and_command_share_an_export(tmp_path, monkeypatch, caplog):
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason=f"export needs {package}")
    monkeypatch.setenv("YOSO_CACHE", str(tmp_path))
    model = tiny()
    caplog.set_level(logging.INFO, "yoso_ros")
    graph = engine_cache.engine_graph(model, (1, 32, 64))
    assert "exporting the graph of" in caplog.text and "exported in" in caplog.text
    monkeypatch.setattr(engine_cache, "graph_without_weights", lambda *a: pytest.fail("exported again"))
    proto = engine_cache.export_onnx(model, (1, 32, 64))
    assert engine_cache.engine_graph(model, (1, 32, 64)) == graph
    assert proto.graph.input[0].type.tensor_type.elem_type == 2  # uint8


def test_long_step_tells_that_it_goes_on(monkeypatch, caplog):
    caplog.set_level(logging.INFO, "yoso_ros")
    monkeypatch.setattr(long_steps, "PERIOD_S", 0.01)
    said = threading.Event()
    monkeypatch.setattr(long_steps._LOG, "handle", lambda record: said.set() if "so far" in record.msg else None)
    with long_steps.told("building", "built"):
        assert said.wait(10)
    with pytest.raises(OSError), long_steps.told("building", "built"):
        raise OSError


def test_openvino_prints_no_line_of_ours_raw(monkeypatch, caplog, capsys):
    """Without a handler of the root logger its converter adds one that does not fill in the values."""
    pytest.importorskip("openvino", reason="needs openvino")
    from yoso_ros.inference import openvino_graph

    convert_node, root = openvino_graph._deformable_convolution, logging.getLogger()
    caplog.set_level(logging.INFO, "yoso_ros")  # as in a program; the converter raises the level of the root
    said = []

    def convert_and_log(context):
        logging.getLogger("yoso_ros.test").info("%s: %.0f s so far", "converting", 1.0)
        said.append(context)
        return convert_node(context)

    monkeypatch.setattr(openvino_graph, "_deformable_convolution", convert_and_log)
    monkeypatch.setattr(root, "handlers", [])
    # Nor one that an earlier test of a command left, which writes into a stream that is closed by now.
    monkeypatch.setattr(logging.getLogger("yoso_ros"), "handlers", [])
    monkeypatch.setattr("openvino.tools.ovc.logger.handler_num", 0)
    openvino_graph.convert(tiny())
    assert said and root.handlers == []
    assert "so far" not in capsys.readouterr().err


TWO_ENGINES = """
import signal
from engine_cases import tiny
from yoso_ros.inference.engines import create_engine
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
model = tiny()
older, younger = (create_engine("openvino", model, "cpu", "fp32") for _ in range(2))
del older
del younger
signal.raise_signal(signal.SIGUSR1)
"""


def test_signals_are_handled_after_the_older_of_two_openvino_engines_has_gone_first(tmp_path):
    pytest.importorskip("openvino", reason="needs openvino")
    environment = {**os.environ, "YOSO_CACHE": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", TWO_ENGINES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=environment)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


STEP = """
import contextlib, signal, sys, time
from yoso_ros.inference.long_steps import told
from yoso_ros.stop_signals import end_steps_on_signals
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell has put the tests in the background
if sys.argv[1] == "program":
    end_steps_on_signals(130)
with told("converting", "converted"):
    for _ in range(int(sys.argv[2])):  # as a converter does with what its callbacks raise
        with contextlib.suppress(KeyboardInterrupt):
            print("begun", flush=True)
            time.sleep(int(sys.argv[3]))
print("end", flush=True)
"""


@pytest.mark.parametrize(("who", "rounds", "seconds", "code"), [
    ("program", 2, 3600, 130),  # does not end by itself
    ("program", 1, 3600, 130),  # ends as if nothing had been
    ("library", 1, 3600, 0),  # in a notebook the process is not ours to end
])  # fmt: skip
def test_a_step_that_swallows_an_interrupt(who, rounds, seconds, code):
    command = [sys.executable, "-c", STEP, who, str(rounds), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "begun\n"
            time.sleep(0.3)  # the sleep has begun
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == code
    assert output.endswith("end\n") == (who == "library")


@pytest.mark.parametrize("arguments", [["--help"], ["benchmark", "--help"], ["segment", "--help"]])
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys; from yoso_ros.cli import main\n"
        f"try: main({arguments!r})\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'cv2', 'PIL', 'yaml', 'tqdm', 'openvino', 'rclpy'} & set(sys.modules)\n"
        "sys.exit(' '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_openvino_reports_nothing_to_its_vendor():
    pytest.importorskip("openvino", reason="needs openvino")
    code = "import yoso_ros.inference, openvino.tools.ovc as o; print(type(o.telemetry).__module__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout.strip() == "openvino.tools.ovc.telemetry_stub", done.stderr
