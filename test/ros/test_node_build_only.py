# SPDX-License-Identifier: Apache-2.0
"""The parameters of the tensorrt engine: what reaches the segmenter, and the node that builds and ends."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")

pytestmark = pytest.mark.ros
NODE = Path(__file__).with_name("node_with_engine_options.py")


def run_node(*parameters):
    arguments = [word for parameter in parameters for word in ("-p", parameter)]
    command = [sys.executable, NODE, "--ros-args", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)


def test_build_only_runs_the_network_once_for_the_cameras_and_ends(ros_domain):
    done = run_node(
        "engine:=tensorrt",
        "build_only:=true",
        "engine_path:=a/mine.engine",
        "force_rebuild:=true",
        "warmup_iterations:=0",
        "warmup_frame_size:=36x64",
        "cameras:=[front, rear]",
        "autostart:=false",
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith(("engine", "batch"))]
    assert lines == ["engine tensorrt path a/mine.engine rebuild True", "batch [(36, 64, 3), (36, 64, 3)]"]


def test_build_that_fails_is_code_2(ros_domain):
    done = run_node("engine:=tensorrt", "build_only:=true", "model:=missing")
    assert done.returncode == 2 and "found 'missing'" in done.stderr
