# SPDX-License-Identifier: Apache-2.0
"""Memory of a node process: one place for all threads, and what the states of the lifecycle hold."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE_S

from yoso_ros.resources import checkpoint_path

BENCH_MEMORY = Path(__file__).parents[1] / "benchmark/bench_memory.py"
ARENAS = """
import ctypes, sys, threading
import yoso_ros.ros
import numpy, rclpy
library, path = ctypes.CDLL(None), sys.argv[1].encode()
library.fopen.restype = ctypes.c_void_p
for _ in range(4):
    thread = threading.Thread(target=lambda: ctypes.create_string_buffer(1000))
    thread.start()
    thread.join()
stream = ctypes.c_void_p(library.fopen(path, b"w"))
library.malloc_info(0, stream)
library.fclose(stream)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs the GNU C library")
def test_all_threads_share_one_arena_unless_the_environment_asks_for_more(tmp_path):
    pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

    def arenas(**environment):
        path = tmp_path / "malloc.xml"
        clean = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
        subprocess.run([sys.executable, "-c", ARENAS, path], env=clean | environment, check=True, timeout=PATIENCE_S)
        return len(re.findall("<heap nr", path.read_text()))

    assert arenas() == 1
    assert arenas(MALLOC_ARENA_MAX="8") > 1


@pytest.mark.ros
def test_benchmark_of_the_states(tmp_path):
    pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
    pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")
    if not checkpoint_path("yoso_mobilenetv2_camvid").is_file():
        pytest.skip("needs the shipped checkpoint of yoso_mobilenetv2_camvid")
    command = [sys.executable, BENCH_MEMORY, "--engines", "torch", "--rounds", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    rows = [
        [float(n) for n in line.split()[1:]] for line in done.stdout.splitlines() if line.strip().startswith("torch")
    ]
    assert [row[0] for row in rows] == [1, 2]
    for _, before, configured, active, cleaned in rows:
        assert before < configured <= active + 5 and cleaned < active - 50
    assert rows[1][4] < rows[0][4] + 15, "a second round leaves no more behind than the first"
