# SPDX-License-Identifier: Apache-2.0
"""From a frame to a `PanopticResult`: preprocessing, engine and merge behind one class, without ROS."""

import sys

from yoso_ros.inference.segmenter import Segmenter, load_segmenter

__all__ = ["Segmenter", "load_segmenter"]

# Importing OpenVINO reports its use to the vendor over HTTPS unless its telemetry package cannot be imported. A robot
# sends nothing that nobody asked for; to allow it, import openvino_telemetry first.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
