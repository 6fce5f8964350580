# SPDX-License-Identifier: Apache-2.0
"""The bond with a lifecycle manager: a heartbeat while active, and no images read when the manager is gone."""

import sys
from pathlib import Path

import pytest
from message_packages import message_environment

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from node_probe import Probe

pytestmark = pytest.mark.ros
HERE = Path(__file__).parent


def test_the_node_is_inactive_when_its_supervisor_is_gone(ros_domain, start_process):
    environment = message_environment("bond")
    arguments = [sys.executable, HERE / "node_with_test_segmenter.py", "--ros-args", "-p", "bond:=true"]
    node = start_process([*arguments, "-r", "image_raw:=/cam/image_raw"], environment=environment)
    probe = Probe()
    probe.connect()
    supervisor = start_process([sys.executable, HERE / "supervisor.py", "yoso"], environment=environment)
    supervisor.wait_for_output("bonded")
    probe.spin(1.0)  # the node has heard it, too
    supervisor.stop()

    def state():
        return probe.call(GetState, "get_state", GetState.Request()).current_state.id

    probe.until(lambda: state() == State.PRIMARY_STATE_INACTIVE, "the node is inactive")
    assert "has sent no heartbeat for 4 s: deactivating" in node.output()
    probe.until(lambda: probe.images.get_subscription_count() == 0, "it reads nothing")

    # A manager that comes back activates it, and hears when it is deactivated.
    def change(transition):
        request = ChangeState.Request(transition=Transition(id=transition))
        assert probe.call(ChangeState, "change_state", request).success

    change(Transition.TRANSITION_ACTIVATE)
    supervisor = start_process([sys.executable, HERE / "supervisor.py", "yoso"], environment=environment)
    supervisor.wait_for_output("bonded")
    change(Transition.TRANSITION_DEACTIVATE)
    supervisor.wait_for_output("ended")
    probe.close()
    assert node.stop() == 0 and "caught" not in node.output()
