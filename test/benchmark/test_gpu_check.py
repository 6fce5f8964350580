# SPDX-License-Identifier: Apache-2.0
"""The check of a GPU: its runner keeps what happened, its commands exist, and without a GPU it says so in one line."""

import json

import torch

from yoso_ros.benchmark import gpu_check
from yoso_ros.benchmark.gpu_check import Step, gpu_steps, run_steps
from yoso_ros.cli import build_parser, main
from yoso_ros.data.synthetic.dataset import Synthesis, write_dataset


def test_without_a_gpu_there_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["gpu-check"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "there is no GPU" in line


def test_report_tells_of_every_step_whatever_became_of_it(tmp_path):
    path = tmp_path / "report.json"

    def numbers():
        assert not path.exists() or "good" not in json.loads(path.read_text())["steps"]
        return {"ms": 1.5}

    steps = [
        Step("good", ["-c", "print('10 %\\r20 %\\rdone')"], 60, numbers),
        Step("bad", ["-c", "import sys; sys.exit('broken')"], 60),
        Step("mute", ["-c", ""], 60, lambda: json.loads((tmp_path / "missing").read_text())),
        Step("long", ["-c", "import time; print('begun', flush=True); time.sleep(60)"], 3),
    ]
    told = []
    assert run_steps(steps, {"machine": {"gpu": "none"}}, path, 100, told.append) == ["bad", "mute", "long"]
    report = json.loads(path.read_text())
    entries = report["steps"]
    assert report["machine"] == {"gpu": "none"} and len(told) == 4
    assert entries["good"]["numbers"] == {"ms": 1.5} and entries["good"]["printed"] == ["done"]
    assert entries["bad"]["ended"] == "with exit code 1" and entries["bad"]["printed"] == ["broken"]
    assert entries["mute"]["ended"] == "without its numbers" and "missing" in entries["mute"]["numbers"]
    assert entries["long"]["ended"] == "stopped after 3 s" and entries["long"]["printed"] == ["begun"]
    assert run_steps(steps[:1], {}, path, 1.0, told.append) == ["good"]
    assert "not started" in json.loads(path.read_text())["steps"]["good"]["ended"]


def test_commands_of_all_steps_are_understood(tmp_path):
    steps = gpu_steps(tmp_path, tensorrt=True)
    names = [step.name for step in steps]
    assert names[0] == "tests" and len(set(names)) == len(names) and "pq_tensorrt_cuda_fp16" in names
    for step in steps:
        if step.command[1] == "yoso_ros":
            build_parser(step.command[2]).parse_args(step.command[2:])  # an unknown option would end the process
    # The tests and the large model first, PQ next: what comes late has little time left.
    assert names.index("frame_to_result") < names.index("pq_torch_cuda_fp16") < names.index("training")


def test_counts_of_a_test_run(tmp_path):
    path = tmp_path / "tests.xml"
    path.write_text(
        '<testsuites><testsuite><testcase classname="a" name="x"/><testcase classname="a" name="y"><failure '
        'message="differs"/></testcase><testcase classname="a" name="z"><skipped message="no device"/></testcase>'
        "</testsuite></testsuites>"
    )
    expected = {"passed": 1, "failed": ["a::y: differs"], "skipped": ["a::z: no device"]}
    assert gpu_check.read_tests(path) == expected


def test_report_of_a_second_run_has_a_name_of_its_own(tmp_path):
    first = gpu_check.report_path(tmp_path)
    first.write_text("{}")
    second = gpu_check.report_path(tmp_path)
    assert second != first and second.name.endswith("-2.json")


def test_training_throughput_on_a_small_data_set(tmp_path, capsys):
    write_dataset(tmp_path, Synthesis(count=6))
    output = tmp_path / "rates.json"
    command = ["benchmark", "training", "synthetic_mobilenetv2", "--data", str(tmp_path), "--device", "cpu"]
    assert main([*command, "--steps", "1", "--workers", "0", "--output", str(output)]) == 0
    (row,) = json.loads(output.read_text())["rows"]
    assert row["precision"] == "fp32" and row["samples_per_s"] > 0 and row["peak_memory_mb"] is None
    assert main([*command, "--steps", "0"]) == 2 and "--steps" in capsys.readouterr().err
