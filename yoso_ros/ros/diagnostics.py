# SPDX-License-Identifier: Apache-2.0
"""The health of each camera of the node: a DiagnosticStatus with rate, drops, failures and their last cause."""

import time

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from yoso_ros.ros.worker import Counts

SILENCE_S = 2.0  # an enabled node without a frame for so long warns


class HealthReport:
    """Remembers what happened since the last report and turns it into a status.

    Args:
        name: name of the status: of the node and of the camera.
        counts: `Counts` of this camera so far.
    """

    def __init__(self, name, counts=Counts()):  # noqa: B008 (it is immutable)
        self._name = name
        self._last_counts, self._last_time = counts, time.monotonic()
        self._last_frame = None
        self._last_failure = ""
        self._causes = set()

    def frame_arrived(self):
        """Note that an image came in."""
        self._last_frame = time.monotonic()

    def failure(self, cause, kind):
        """Note a failure.

        Args:
            cause: one line for people.
            kind: the part of the cause that does not change from frame to frame.

        Returns:
            True when this kind of failure is a new one, which should be logged.
        """
        self._last_failure = cause
        new = kind not in self._causes
        self._causes.add(kind)
        return new

    def status(self, phase, enabled, counts, backend, model):
        """The report since the last call.

        Args:
            phase: state of the lifecycle, in words.
            enabled: value of the parameter `enable`.
            counts: `Counts` of this camera.
            backend: engine, device and precision; empty while no model is loaded.
            model: name of the model.

        Returns:
            diagnostic_msgs/DiagnosticStatus.
        """
        now = time.monotonic()
        before, seconds = self._last_counts, max(now - self._last_time, 1e-3)
        self._last_counts, self._last_time = counts, now
        fps = (counts.processed - before.processed) / seconds
        failures = counts.failed - before.failed
        age = None if self._last_frame is None else now - self._last_frame
        level, text = _judge(phase, enabled, age, failures, counts.processed - before.processed, self._last_failure)
        values = {
            "state": phase,
            "enabled": str(enabled).lower(),
            "model": model,
            "engine": backend,
            "frames per second": f"{fps:.1f}",
            "dropped per second": f"{(counts.dropped - before.dropped) / seconds:.1f}",
            "received": counts.received,
            "processed": counts.processed,
            "dropped": counts.dropped,
            "failed": counts.failed,
            "last failure": self._last_failure or "none",
            "seconds since last frame": "no frame yet" if age is None else f"{age:.1f}",
        }
        status = DiagnosticStatus(level=level, name=self._name, message=text, hardware_id=backend)
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        return status


def idle_status(name, phase):
    """diagnostic_msgs/DiagnosticStatus of a node without a model, which has no cameras yet."""
    level, text = _judge(phase, True, None, 0, 0, "")
    return DiagnosticStatus(level=level, name=name, message=text, values=[KeyValue(key="state", value=phase)])


def _judge(phase, enabled, age, failures, processed, last_failure):
    if phase != "active":
        return DiagnosticStatus.WARN, f"{phase}: no images are read"
    if not enabled:
        return DiagnosticStatus.OK, "disabled"
    if failures:
        level = DiagnosticStatus.WARN if processed else DiagnosticStatus.ERROR
        return level, f"{failures} frames failed: {last_failure}"
    if age is None or age > SILENCE_S:
        return DiagnosticStatus.WARN, "no images arrive"
    return DiagnosticStatus.OK, "running"
