# SPDX-License-Identifier: Apache-2.0
"""The other side of a bond, as a lifecycle manager has it: supervisor.py ID. Goes without a word when it is killed."""

import sys
import time

import rclpy
from bond.msg import Status


def main(bond_id):
    """Send a heartbeat and print what the other side sends: "bonded" once, "ended" when it ends."""
    rclpy.init()
    node = rclpy.create_node("supervisor")
    publisher = node.create_publisher(Status, "bond", 10)
    told = set()

    def on_status(status):
        word = "bonded" if status.active else "ended"
        if status.id == bond_id and status.instance_id != "supervisor" and word not in told:
            told.add(word)
            assert status.heartbeat_timeout == 4.0
            print(word, flush=True)

    node.create_subscription(Status, "bond", on_status, 10)
    while True:
        status = Status(id=bond_id, instance_id="supervisor", active=True, heartbeat_timeout=4.0)
        publisher.publish(status)
        rclpy.spin_once(node, timeout_sec=0.05)
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1])
