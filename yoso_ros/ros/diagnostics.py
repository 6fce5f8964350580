# SPDX-License-Identifier: Apache-2.0
"""The health of each camera of the node: a DiagnosticStatus with rate, drops, failures and their last cause."""

import time

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from yoso_ros.ros.causes import Causes
from yoso_ros.ros.worker import Counts

SILENCE_S = 2.0  # no image from a camera for this long is a warning
STEADY_HZ = 1.0  # at this rate a camera is no longer silent, and a new silence is reported again
SILENCE, ABSENCE = "silence", "absence"  # kinds of warnings: no images from a publisher, and no publisher


class HealthReport:
    """Remembers what happened since the last report and turns it into a status.

    Args:
        name: name of the status: of the node and of the camera.
        counts: `Counts` of this camera so far.
    """

    def __init__(self, name, counts=Counts()):  # noqa: B008 (it is immutable)
        self._name = name
        self._last_counts, self._last_time = counts, time.monotonic()
        self._last_frame, self._expected_since = None, time.monotonic()
        self._last_times = {}
        self._last_failure = ""
        self._causes = Causes()
        self._warnings = {}  # text by cause, since the last report

    def images_expected(self):
        """The node has started to listen: silence before does not count."""
        self._expected_since = time.monotonic()
        self._forget_silence()

    def _forget_silence(self):
        for kind in (SILENCE, ABSENCE):
            self._causes.forget(kind)

    def frame_arrived(self):
        """An image has arrived."""
        self._last_frame = self._expected_since = time.monotonic()

    def frame_processed(self, times):
        """Record the times (dict of milliseconds) of a published frame."""
        self._last_times = times

    @property
    def silent(self):
        """Whether no image has arrived for too long."""
        return time.monotonic() - self._expected_since > SILENCE_S

    def failure(self, text):
        """Record that a frame failed.

        Args:
            text: the reason, in one line.

        Returns:
            The line to log if the cause is new, else None; see `Causes.line`.
        """
        self._last_failure = text
        return self._causes.line(text)

    def warning(self, text, kind, tell=True):
        """Record a problem of frames that are processed anyway or do not arrive; otherwise like `failure`.

        Args:
            text: one line for people.
            kind: warnings of the same kind have the same cause.
            tell: False puts it into the report only, and leaves the log for another time.
        """
        self._warnings[kind] = text
        return self._causes.line(text, kind) if tell else None

    def status(self, phase, enabled, counts, backend, model, more=None, lost=0):
        """The report on the time since the last call.

        Args:
            phase: lifecycle state, in words.
            enabled: value of the parameter `enable`.
            counts: `Counts` of this camera.
            backend: engine, device and precision; empty while no model is loaded.
            model: name of the model.
            more: dict of further values to show.
            lost: images that never arrived, as far as the middleware knows.

        Returns:
            diagnostic_msgs/DiagnosticStatus.
        """
        now = time.monotonic()
        before, seconds = self._last_counts, max(now - self._last_time, 1e-3)
        self._last_counts, self._last_time = counts, now
        if (counts.received - before.received) / seconds >= STEADY_HZ:
            self._forget_silence()
        processed, failures = counts.processed - before.processed, counts.failed - before.failed
        warnings, self._warnings = list(self._warnings.values()), {}
        if self.silent and not warnings:
            warnings = [f"no images arrive for {now - self._expected_since:.0f} s"]
        level, text = _judge(phase, enabled, warnings, failures, processed, self._last_failure)
        engine, _, rest = backend.partition("-")
        device, _, precision = rest.partition("-")
        values = {
            "state": phase,
            "enabled": str(enabled).lower(),
            "model": model,
            "engine": engine,
            "device": device,
            "precision": precision,
            **(more or {}),
            "frames per second": f"{processed / seconds:.1f}",
            "dropped per second": f"{(counts.dropped - before.dropped) / seconds:.1f}",
            "received": counts.received,
            "processed": counts.processed,
            "dropped": counts.dropped,
            "failed": counts.failed,
            "lost": lost,
            "last failure": self._last_failure or "none",
            "seconds since last frame": "no frame yet" if self._last_frame is None else f"{now - self._last_frame:.1f}",
            "latency of last frame (ms)": _milliseconds(self._last_times.get("latency_ms")),
            "age of last frame (ms)": _milliseconds(self._last_times.get("age_ms")),
        }
        status = DiagnosticStatus(level=level, name=self._name, message=text, hardware_id=backend)
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        return status


def _milliseconds(value):
    return "unknown" if value is None or np.isnan(value) else f"{value:.1f}"


def idle_status(name, phase, failure="", more=None):
    """diagnostic_msgs/DiagnosticStatus of a node without a model, which has no cameras yet.

    Args:
        name: name of the status.
        phase: state of the lifecycle, in words.
        failure: why it could not be configured, or "".
        more: dict of further values to show.
    """
    level, text = _judge(phase, True, [], 0, 0, "")
    if failure:
        level, text = DiagnosticStatus.ERROR, f"{phase}: {failure}"
    values = {"state": phase, "last failure": failure or "none", **(more or {})}
    values = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=text, values=values)


def _judge(phase, enabled, warnings, failures, processed, last_failure):
    if phase != "active":
        return DiagnosticStatus.WARN, f"{phase}: no images are read"
    if not enabled:
        return DiagnosticStatus.OK, "disabled"
    texts = [f"{failures} frames failed: {last_failure}"] * bool(failures) + warnings
    if not texts:
        return DiagnosticStatus.OK, "running"
    return DiagnosticStatus.ERROR if failures and not processed else DiagnosticStatus.WARN, "; ".join(texts)
