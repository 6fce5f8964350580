# SPDX-License-Identifier: Apache-2.0
"""Every node process ends soon and without a word of Python when it gets two signals, as under `ros2 launch`."""

import signal
import sys
import time
from pathlib import Path

import pytest
from patience import PATIENCE_S

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")

import rclpy

pytestmark = pytest.mark.ros
NODES = {
    "panoptic_node": ([str(Path(__file__).with_name("node_with_test_segmenter.py"))], "reading /image_raw"),
    "point_cloud_node": (["-m", "yoso_ros.ros.point_cloud_node"], "publishing /yoso/points"),
    "source_node": (["-m", "yoso_ros.ros.source_node", "--ros-args", "-p", "loop:=true"], "frames of synthetic on"),
}
LIMIT_S = 25.0  # for a busy machine; far less than the minute for which the executor is busy


@pytest.mark.parametrize("between_s", [0.0, 0.03])
@pytest.mark.parametrize("name", NODES)
def test_two_signals(ros_domain, start_process, name, between_s):
    arguments, started_with = NODES[name]
    node = start_process([sys.executable, *arguments])
    node.wait_for_output(started_with)
    time.sleep(0.3)
    sent = time.monotonic()
    node._process.send_signal(signal.SIGINT)
    time.sleep(between_s)
    node._process.send_signal(signal.SIGTERM)
    assert node.wait(PATIENCE_S) == 0
    assert time.monotonic() - sent < LIMIT_S
    assert "Traceback" not in node.output() and "KeyboardInterrupt" not in node.output()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_a_transition_that_takes_long(ros_domain, start_process, number):
    """A lifecycle manager has the node load a model within a service call; the executor is busy for a minute."""
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    node_file = Path(__file__).with_name("node_with_test_segmenter.py")
    arguments = ["--ros-args", "-p", "autostart:=false", "-p", "model:=endless"]
    node = start_process([sys.executable, node_file, *arguments])
    rclpy.init()
    caller = rclpy.create_node("manager")
    try:
        client = caller.create_client(ChangeState, "/yoso/change_state")
        assert client.wait_for_service(PATIENCE_S)
        deadline = time.monotonic() + PATIENCE_S
        while "loading" not in node.output():  # a request before the node knows of this client is lost
            assert time.monotonic() < deadline, node.output()
            client.call_async(ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE)))
            time.sleep(0.5)
    finally:
        caller.destroy_node()
        rclpy.shutdown()
    sent = time.monotonic()
    node._process.send_signal(number)
    assert node.wait(PATIENCE_S) == 0
    assert time.monotonic() - sent < LIMIT_S
    assert "Traceback" not in node.output() and "xception" not in node.output()
