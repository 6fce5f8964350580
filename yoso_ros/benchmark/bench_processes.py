# SPDX-License-Identifier: Apache-2.0
"""The processes of a measurement, started and stopped together: the node, the cameras and the listeners."""

import contextlib
import os
import sys

from tqdm import tqdm

from yoso_ros.benchmark.node_bench import Bench, Role
from yoso_ros.node_process import NodeProcess, dds_environment, reserved_domain
from yoso_ros.stop_signals import held_back

NODE_NAME = "/yoso"


class AttachedNode:
    """A node that is already running and was not started here: it is not monitored."""

    pid = None

    def check(self):
        """Nothing to check: the process is unknown."""


@contextlib.contextmanager
def open_bench(camera, log_path, parameters=None, remappings=None, command=None, attach_to=None, listen=(), cameras=()):
    """A connected `Bench` for the length of a with block.

    Args:
        camera: list of str, role and arguments of `yoso_ros.ros.runs.latency_roles`.
        log_path: file for the node's output.
        parameters: dict of the node's ROS parameters. remappings: dict of topic to topic.
        command: list of str, command to start instead of this package's node.
        listen: names of image outputs of the node, such as "overlay", to subscribe to.
        cameras: names of the node's cameras if there are several; `camera` plays all of them.
        attach_to: full name of a node running in the ROS domain of this process, to use instead of starting one.

    Raises:
        InputError: the node has ended, does not connect, or does not answer.
    """
    roles = [sys.executable, "-m", "yoso_ros.ros.runs.latency_roles"]
    with contextlib.ExitStack() as started:
        if attach_to is None:
            domain = started.enter_context(reserved_domain())
        else:
            domain = int(os.environ.get("ROS_DOMAIN_ID", "0"))
        environment = dds_environment(domain)
        if attach_to is not None:
            # A node that was not started here may be on another machine.
            del environment["ROS_AUTOMATIC_DISCOVERY_RANGE"]
        node = AttachedNode()
        if attach_to is None:
            with held_back():
                node = NodeProcess(parameters or {}, remappings or {}, domain, log_path, command)
                started.callback(node.stop)
        player = Role([*roles, *camera], environment)
        started.callback(player.stop)
        monitor = Role([*roles, "monitor", attach_to or NODE_NAME, *cameras], environment)
        started.callback(monitor.stop)
        if listen:
            topics = [f"{attach_to or NODE_NAME}/{name}/image_raw" for name in listen]
            started.callback(Role([*roles, "listener", *topics], environment).stop)
        bench = Bench(player, monitor, node, len(cameras) or 1)
        with tqdm(desc="waiting for the node", bar_format="{desc}: {elapsed}", leave=False) as bar:
            bench.connect(bar.refresh)
        yield bench
