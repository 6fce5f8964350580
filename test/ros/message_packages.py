# SPDX-License-Identifier: Apache-2.0
"""Message packages that come with ROS and have no wheel: for the processes of a test."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest


def message_environment(*packages):
    """Environment variables (dict of str) of a process that uses message packages; skips where they are nowhere.

    Those that are not installed are taken from where `make test` compiles its stand-ins, test/ros/messages.
    """
    folders = [Path(sys.prefix, "test_messages", name) for name in packages if importlib.util.find_spec(name) is None]
    absent = [folder.name for folder in folders if not folder.is_dir()]
    if absent:
        pytest.skip(f"needs the messages of {', '.join(absent)}, which `make test` compiles")
    prepended = {
        "PYTHONPATH": [str(path) for folder in folders for path in folder.glob("lib/python3*/site-packages")],
        "LD_LIBRARY_PATH": [str(folder / "lib") for folder in folders],
    }
    return {
        name: os.pathsep.join(filter(None, [*paths, os.environ.get(name)]))
        for name, paths in prepended.items()
        if paths
    }
