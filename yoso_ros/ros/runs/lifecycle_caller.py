# SPDX-License-Identifier: Apache-2.0
"""A process that moves the node through its lifecycle, to measure the cost of its states."""

import json
import sys
import time

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState

TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
}
DISCOVERY_S = 30.0
SETTLE_S = 0.5  # the node discovers the client a little later, and earlier requests are lost
TRANSITION_S = 120.0  # an engine may be built


def main(node_name):
    """For each line of stdin, the name of a transition, print whether the node carried it out: true or false.

    Args:
        node_name: full name of the node.
    """
    rclpy.init(args=[])
    node = rclpy.create_node("lifecycle_caller")
    client = node.create_client(ChangeState, f"{node_name}/change_state")
    found = client.wait_for_service(DISCOVERY_S)
    time.sleep(SETTLE_S)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        request = ChangeState.Request(transition=Transition(id=TRANSITIONS[line.strip()]))
        future = client.call_async(request)
        rclpy.spin_until_future_complete(node, future, timeout_sec=TRANSITION_S if found else 0.0)
        print(json.dumps(bool(future.done() and future.result().success)), flush=True)
    node.destroy_node()
    rclpy.shutdown()
