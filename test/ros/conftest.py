# SPDX-License-Identifier: Apache-2.0
"""For tests on real DDS: a domain that no other test on this machine uses, and processes that end with their test."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
STOP_S = 30.0  # between asking a process to stop and killing it


@pytest.fixture
def ros_domain(monkeypatch):
    """ROS_DOMAIN_ID (int) of this test alone, over all test runs on the machine; the environment is set to match it.

    Discovery stays on this machine, and DDS uses the profile for large images, as the node does.
    """
    pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
    from yoso_ros.node_process import dds_profile_variable, reserved_domain

    with reserved_domain() as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
        monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
        monkeypatch.setenv(dds_profile_variable(), str(ROOT / "config/dds/large_images.xml"))
        yield domain
        import rclpy

        rclpy.try_shutdown()  # of a test that failed, so that it is the only one


class StartedProcess:
    """A process of its own session with a hard time limit; stdout and stderr go to one file."""

    def __init__(self, arguments, log, limit_s, environment):
        self.limit_s = limit_s
        self.timed_out = False
        self._log = log
        with open(log, "wb") as sink:
            self._process = subprocess.Popen(
                [str(a) for a in arguments],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that what it starts ends with it
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            )
        self._limit = threading.Timer(limit_s, self._end_at_limit)
        self._limit.daemon = True
        self._limit.start()

    @property
    def returncode(self):
        """Exit status, None while it runs, negative signal number when a signal ended it."""
        return self._process.poll()

    def output(self):
        """All that it has printed so far: str."""
        return self._log.read_text(errors="replace")

    def wait(self, timeout_s=None):
        """Wait for its end; returns the exit status. Raises AssertionError with its output when it does not end."""
        try:
            status = self._process.wait(timeout_s or self.limit_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout_s or self.limit_s} s:\n{self.output()}") from None
        assert not self.timed_out, f"ended at its limit of {self.limit_s} s:\n{self.output()}"
        return status

    def wait_for_output(self, text, timeout_s=PATIENCE_S):
        """Wait until it has printed `text`. Raises AssertionError with its output when it ends or time is up first."""
        deadline = time.monotonic() + timeout_s
        while text not in self.output():
            assert self.returncode is None, f"ended ({self.returncode}) without printing {text!r}:\n{self.output()}"
            assert time.monotonic() < deadline, f"no {text!r} within {timeout_s} s:\n{self.output()}"
            time.sleep(0.05)

    def stop(self):
        """Ask it to stop as Ctrl-C does, kill it when it does not; returns the exit status."""
        self._limit.cancel()
        if self.returncode is None:
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):  # killed below
                self._process.wait(STOP_S)
        self._kill_group()
        return self._process.wait()

    def _end_at_limit(self):
        self.timed_out = self.returncode is None
        self._kill_group()

    def _kill_group(self):
        with contextlib.suppress(ProcessLookupError):  # nothing of it is left
            os.killpg(self._process.pid, signal.SIGKILL)


@pytest.fixture
def start_process(tmp_path):
    """`start_process(arguments, limit_s, environment={}) -> StartedProcess`; all of them end with the test."""
    started = []

    def start(arguments, limit_s=PATIENCE_S, environment=None):
        process = StartedProcess(arguments, tmp_path / f"process_{len(started)}.log", limit_s, environment or {})
        started.append(process)
        return process

    yield start
    for process in reversed(started):
        process.stop()
