# SPDX-License-Identifier: Apache-2.0
"""Runs a `yoso-ros` command in two processes, as torchrun would."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[1]


def run_two(command):
    """Run a `yoso-ros` command as torchrun would, in two processes; returns what each printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "PYTHONPATH": str(ROOT), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common |= {"WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "yoso_ros", *command],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    printed = []
    try:
        for process in processes:
            output, errors = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 0, errors[-2000:]
            printed.append(output)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return printed
