# SPDX-License-Identifier: Apache-2.0
"""Every node process ends soon and without a word of Python when it gets two signals, as under `ros2 launch`."""

import signal
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")

pytestmark = pytest.mark.ros
NODES = {
    "panoptic_node": ([str(Path(__file__).with_name("node_with_test_segmenter.py"))], "reading /image_raw"),
    "point_cloud_node": (["-m", "yoso_ros.ros.point_cloud_node"], "publishing /yoso/points"),
    "source_node": (["-m", "yoso_ros.ros.source_node", "--ros-args", "-p", "loop:=true"], "frames of synthetic on"),
}
LIMIT_S = 2.0


@pytest.mark.parametrize("between_s", [0.0, 0.03])
@pytest.mark.parametrize("name", NODES)
def test_two_signals(ros_domain, start_process, name, between_s):
    arguments, started_with = NODES[name]
    node = start_process([sys.executable, *arguments], limit_s=40)
    node.wait_for_output(started_with, 25)
    time.sleep(0.3)
    sent = time.monotonic()
    node._process.send_signal(signal.SIGINT)
    time.sleep(between_s)
    node._process.send_signal(signal.SIGTERM)
    assert node.wait(8) == 0
    assert time.monotonic() - sent < LIMIT_S
    assert "Traceback" not in node.output() and "KeyboardInterrupt" not in node.output()
