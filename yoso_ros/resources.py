# SPDX-License-Identifier: Apache-2.0
"""Where the package's data files (config/, checkpoints) are, in a checkout, a pip and a ROS install; the cache."""

import os
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def share_path(relative):
    """Path of a shipped data file or folder, such as `config/models`.

    Looks beside the package (source checkout), then in `share/yoso_ros` of every prefix of AMENT_PREFIX_PATH
    (colcon) and of the Python environment (pip).

    Raises:
        FileNotFoundError: the file is in none of them; the message lists the places.
    """
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    roots = [PACKAGE.parent] + [Path(p) / "share/yoso_ros" for p in (*prefixes, sys.prefix)]
    for root in roots:
        if (root / relative).exists():
            return root / relative
    raise FileNotFoundError(f"expected {relative} in one of: {', '.join(map(str, roots))}")


def checkpoint_path(name):
    """Path of a shipped checkpoint, `yoso_ros/checkpoints/<name>.safetensors`; it need not exist."""
    return PACKAGE / "checkpoints" / f"{name}.safetensors"


def cache_folder():
    """Folder of what can be had again: $YOSO_CACHE, or yoso_ros in $XDG_CACHE_HOME (default ~/.cache)."""
    own = os.environ.get("YOSO_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yoso_ros"
