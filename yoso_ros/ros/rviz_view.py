# SPDX-License-Identifier: Apache-2.0
"""RViz display configurations for nodes with a namespace or several cameras, derived from the shipped one."""

import copy
import tempfile
from pathlib import Path

import yaml

from yoso_ros.resources import share_path

SHIPPED = "config/rviz/yoso.rviz"
SHIPPED_NODE = "/yoso"


def view(node, cameras):
    """The shipped configuration with its displays repeated for each camera: dict as RViz reads it from YAML.

    Args:
        node: full name of the node, such as /robot/yoso. cameras: names, "" for a camera without one.
    """
    configuration = yaml.safe_load(Path(share_path(SHIPPED)).read_text())
    manager = configuration["Visualization Manager"]
    manager["Displays"] = [_display(shown, node, camera) for camera in cameras for shown in manager["Displays"]]
    return configuration


def _display(shipped, node, camera):
    display = copy.deepcopy(shipped)
    base = f"{node}/{camera}" if camera else node
    display["Topic"]["Value"] = base + shipped["Topic"]["Value"].removeprefix(SHIPPED_NODE)
    if camera:
        display["Name"] = f"{shipped['Name']} {camera}"
    return display


def write_view(node, cameras):
    """Path of a file with `view`: the shipped one if it fits unchanged, else a temporary one."""
    if node == SHIPPED_NODE and tuple(cameras) == ("",):
        return Path(share_path(SHIPPED))
    # Not removed at the end: RViz reads it at its own time, and people save their changes.
    path = Path(tempfile.mkdtemp(prefix="yoso_rviz_")) / "view.rviz"
    path.write_text(yaml.safe_dump(view(node, cameras), sort_keys=False))
    return path
