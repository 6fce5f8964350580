# SPDX-License-Identifier: Apache-2.0
"""Lifecycle rounds while images and timers go on, with the messages of vision_msgs: the node outlives all of them.

YOSO_LIFECYCLE_ROUNDS=200 makes it as many rounds.
"""

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from message_packages import message_environment

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from node_probe import Probe
from patience import PATIENCE_S

pytestmark = pytest.mark.ros
NODE = Path(__file__).with_name("node_with_test_segmenter.py")
ROUNDS = int(os.environ.get("YOSO_LIFECYCLE_ROUNDS", "6"))
RED = np.full((48, 64, 3), (255, 0, 0), np.uint8)
ROUND = (
    Transition.TRANSITION_DEACTIVATE,
    Transition.TRANSITION_CLEANUP,
    Transition.TRANSITION_CONFIGURE,
    Transition.TRANSITION_ACTIVATE,
)
UNAVAILABLE = (Transition.TRANSITION_CREATE, Transition.TRANSITION_CONFIGURE, 10, 99, 255)  # on an active node


def test_the_node_outlives_lifecycle_rounds_under_load(ros_domain, start_process):
    # Label info at the rate of the images, so that its timer has an event waiting at most clean-ups.
    arguments = ["--ros-args", "-r", "image_raw:=/cam/image_raw", "-p", "label_info_period_s:=0.002"]
    environment = message_environment("vision_msgs")
    node = start_process([sys.executable, NODE, *arguments], limit_s=120 + 5 * ROUNDS, environment=environment)
    probe = Probe()
    probe.connect()
    ended = threading.Event()

    def publish():
        second = 0
        while not ended.wait(0.005):
            second += 1
            probe.images.publish(probe.message(RED, second))

    camera = threading.Thread(target=publish)
    client = probe.node.create_client(ChangeState, "/yoso/change_state")  # one for all: the node must know it first
    assert client.wait_for_service(PATIENCE_S)
    probe.spin(0.5)
    camera.start()
    try:

        def change(transition):
            future = client.call_async(ChangeState.Request(transition=Transition(id=transition)))
            probe.until(lambda: future.done() or node.returncode is not None, f"an answer to {transition}", 20.0)
            assert node.returncode is None, node.output()[-3000:]
            return future.result().success

        for transition in UNAVAILABLE:
            assert not change(transition), f"{transition} is not available"
        assert probe.call(GetState, "get_state", GetState.Request()).current_state.id == State.PRIMARY_STATE_ACTIVE
        for number in range(ROUNDS):
            for transition in ROUND:
                assert change(transition), f"round {number}, transition {transition}: {node.output()[-3000:]}"
                time.sleep(0.01 * (number % 3))
        before = len(probe.received["panoptic/image_raw"])
        probe.until(lambda: len(probe.received["panoptic/image_raw"]) > before, "answers after the last round")
    finally:
        ended.set()
        camera.join()
        probe.close()
    assert node.stop() == 0
    assert "Traceback" not in node.output() and "caught" not in node.output(), node.output()[-3000:]
