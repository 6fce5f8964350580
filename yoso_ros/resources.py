# SPDX-License-Identifier: Apache-2.0
"""Where the package's data files (config/, checkpoints) are, in a checkout, a pip and a ROS install; the cache."""

import contextlib
import os
import sys
from pathlib import Path

from yoso_ros.errors import InputError

ROOT_USER = 0
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


def config_names(folder):
    """Names of the YAML files in a folder of config/, such as "models": sorted list of str."""
    return sorted(path.stem for path in share_path(f"config/{folder}").glob("*.yaml"))


def config_file(folder, name, what, more=""):
    """The YAML file of a name in a folder of config/, or the path of a YAML file: pathlib.Path.

    Args:
        folder: such as "models". name: name, or path with .yaml or .yml, which need not exist.
        what: such as "model", for the message. more: what else may be given, for its end.

    Raises:
        InputError: unknown name; lists the known ones.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    path = share_path(f"config/{folder}") / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(config_names(folder))
        raise InputError(f"unknown {what} {str(name)!r}; known: {known}, or give the path of a YAML file{more}")
    return path


def checkpoint_path(name):
    """Path of a shipped checkpoint, `yoso_ros/checkpoints/<name>.safetensors`; it need not exist."""
    return PACKAGE / "checkpoints" / f"{name}.safetensors"


def cache_folder():
    """Folder of what can be had again: $YOSO_CACHE, or yoso_ros in $XDG_CACHE_HOME (default ~/.cache).

    It is made where it is missing, for its owner alone: what lies in it is run.

    Raises:
        InputError: it belongs to another user.
    """
    own = os.environ.get("YOSO_CACHE")
    folder = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yoso_ros"
    with contextlib.suppress(OSError):  # whoever writes there tells
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.exists() and not is_trusted(folder):
        raise InputError(
            f"the cache folder {folder} belongs to user {folder.stat().st_uid}, who could have put anything there; let "
            "YOSO_CACHE name a folder of your own"
        )
    return folder


def is_trusted(path):
    """Whether a file or folder belongs to this user or to root."""
    return path.stat().st_uid in (os.geteuid(), ROOT_USER)
