# SPDX-License-Identifier: Apache-2.0
"""A bond with a lifecycle manager such as Nav2's: both send heartbeats; the node deactivates when the other's stop."""

import importlib.util
import time
import uuid

from rclpy.clock import Clock, ClockType
from rclpy.qos import QoSProfile

TOPIC = "bond"  # in the node's namespace, where Nav2's manager listens
PERIOD_S, TIMEOUT_S = 0.1, 4.0  # as in Nav2's own nodes
QUEUE = 10


def bond_messages_installed():
    """Whether the package bond can be imported."""
    return importlib.util.find_spec("bond") is not None


class SupervisorBond:
    """One side of a bond while the node is active. Without another side it only sends heartbeats.

    Args:
        node: rclpy node; its name is the id of the bond.
        on_broken: called with one line of explanation when the other side was present and has gone.
    """

    def __init__(self, node, on_broken):
        self._node, self._on_broken = node, on_broken
        self._publisher = self._subscription = self._timer = None
        self._instance = ""
        self._seen = None  # time of the other side's last heartbeat, `time.monotonic()`; None before the first

    def start(self):
        """Start sending heartbeats and listening for the other side's."""
        from bond.msg import Status

        self._instance, self._seen = str(uuid.uuid4()), None
        self._publisher = self._node.create_publisher(Status, TOPIC, QoSProfile(depth=QUEUE))
        self._subscription = self._node.create_subscription(Status, TOPIC, self._on_status, QoSProfile(depth=QUEUE))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self._node.create_timer(PERIOD_S, self._on_timer, clock=steady)

    def stop(self):
        """Tell the other side that the node is no longer active, and stop."""
        if self._timer is None:
            return
        timer, self._timer = self._timer, None
        self._send(active=False)
        self._node.destroy_timer(timer)
        self._node.destroy_subscription(self._subscription)
        self._node.destroy_publisher(self._publisher)

    def _send(self, active):
        from bond.msg import Status

        status = Status(id=self._node.get_name(), instance_id=self._instance, active=active)
        status.header.stamp = self._node.get_clock().now().to_msg()
        status.heartbeat_timeout, status.heartbeat_period = TIMEOUT_S, PERIOD_S
        self._publisher.publish(status)

    def _on_status(self, status):
        if self._timer is None or status.id != self._node.get_name() or status.instance_id == self._instance:
            return
        if status.active:
            self._seen = time.monotonic()
        elif self._seen is not None:
            self._break("the lifecycle manager has ended the bond")

    def _on_timer(self):
        if self._timer is None:  # its event was waiting in the executor when an earlier one ended the bond
            return
        self._send(active=True)
        if self._seen is not None and time.monotonic() > self._seen + TIMEOUT_S:
            self._break(f"the lifecycle manager has sent no heartbeat for {TIMEOUT_S:g} s")

    def _break(self, reason):
        self._seen = None
        self._on_broken(reason)
