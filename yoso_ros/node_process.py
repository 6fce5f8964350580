# SPDX-License-Identifier: Apache-2.0
"""panoptic_node as a process of its own: started in a ROS domain that nobody uses, watched, and ended."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path

from yoso_ros.errors import InputError
from yoso_ros.resources import share_path

DOMAINS = range(1, 102)  # higher ones reach into the ports that Linux hands out to clients
# DDS ports of a domain (RTPS 2.2, section 9.6.1.1).
PORT_BASE, DOMAIN_GAIN, UNICAST_OFFSET = 7400, 250, 10
DDS_PROFILE_VARIABLES = {"fastdds": "FASTDDS_DEFAULT_PROFILES_FILE", "fastrtps": "FASTRTPS_DEFAULT_PROFILES_FILE"}
STOP_S = 5.0  # between asking the node to stop and killing it
LAST_LINES = 8


@contextlib.contextmanager
def reserved_domain():
    """A ROS domain that nobody else on this machine uses during a with block: its id, int.

    DDS talks UDP. The TCP port with the number of the domain's first UDP port marks it as taken, from before the first
    node opens its ports until the block ends, so that no two callers ever get the same domain.

    Raises:
        InputError: all are in use.
    """
    for domain in random.sample(DOMAINS, len(DOMAINS)):
        first = PORT_BASE + DOMAIN_GAIN * domain
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as mark:
            if _bound(mark, "127.0.0.1", first) and all(map(_is_free, (first, first + UNICAST_OFFSET))):
                yield domain
                return
    raise InputError(f"every ROS domain from {DOMAINS[0]} to {DOMAINS[-1]} is in use on this machine")


def _is_free(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return _bound(probe, "", port)


def _bound(taker, address, port):
    try:
        taker.bind((address, port))
    except OSError:
        return False
    return True


def dds_profile_variable():
    """Name of the environment variable that tells Fast DDS its profile: str.

    It has changed with version 3, of Kilted, which warns of the old one; version 2 knows no other.
    """
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    for prefix in filter(None, prefixes):
        for package, variable in DDS_PROFILE_VARIABLES.items():
            if Path(prefix, "share", package).is_dir():
                return variable
    return DDS_PROFILE_VARIABLES["fastrtps"]


def dds_profile_environment():
    """What Fast DDS has to be told for messages of camera size, unless the user has told it: dict of str."""
    if any(os.environ.get(variable) for variable in DDS_PROFILE_VARIABLES.values()):
        return {}
    return {dds_profile_variable(): str(share_path("config/dds/large_images.xml"))}


def dds_environment(domain):
    """Environment variables for talk within this machine with images: dict of str."""
    return {
        "ROS_DOMAIN_ID": str(domain),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        **dds_profile_environment(),
    }


class NodeProcess:
    """A running node.

    Args:
        parameters: dict of ROS parameter name to str. remappings: dict of topic to topic.
        domain: ROS domain id.
        log_path: file for its output.
        command: list of str, what to start instead of this package's node.
    """

    def __init__(self, parameters, remappings, domain, log_path, command=None):
        self._log_path = Path(log_path)
        command = list(command or (sys.executable, "-m", "yoso_ros.ros.node")) + ["--ros-args"]
        for name, value in parameters.items():
            command += ["-p", f"{name}:={value}"]
        for name, topic in remappings.items():
            command += ["-r", f"{name}:={topic}"]
        with open(self._log_path, "wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A session of its own: Ctrl-C ends the demonstration, which then ends the node.
                start_new_session=True,
                env={**os.environ, **dds_environment(domain), "PYTHONUNBUFFERED": "1"},
            )

    @property
    def pid(self):
        """Process id: int."""
        return self._process.pid

    def check(self):
        """Raise InputError with its last lines when the node has ended."""
        status = self._process.poll()
        if status is not None:
            last = self.last_lines()
            raise InputError(f"the node ended with status {status}; its last lines ({self._log_path}):\n  {last}")

    def last_lines(self):
        """The end of what it has printed: str, lines with two spaces before them from the second on."""
        lines = self._log_path.read_text(errors="replace").strip().splitlines()[-LAST_LINES:]
        return "\n  ".join(lines) or "it printed nothing"

    def stop(self):
        """Ask the node to end, wait, and kill it if it does not."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
