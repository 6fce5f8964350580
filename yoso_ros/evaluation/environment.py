# SPDX-License-Identifier: Apache-2.0
"""Provenance of a run for reports: versions and hardware."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

import yoso_ros
from yoso_ros.processor import processor_name

PACKAGES = ("torch", "numpy", "opencv-python-headless", "rosbags", "openvino", "onnxruntime", "tensorrt")


def environment() -> dict[str, dict[str, str]]:
    """dict of str: "versions" and "hardware", each a dict of name to text."""
    versions = {"yoso_ros": yoso_ros.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    hardware = {"system": platform.platform(), "processor": processor_name(), "cores": str(os.cpu_count())}
    hardware["memory"] = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"
    hardware["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {"versions": versions, "hardware": hardware}
