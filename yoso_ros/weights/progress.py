# SPDX-License-Identifier: Apache-2.0
"""Progress of a transfer: a bar on a terminal, a line every few seconds in a log."""

import logging
import sys
import time

from tqdm import tqdm

_LOG = logging.getLogger(__name__)
LINE_PERIOD_S = 5.0
MEGA = 1e6


class LogLines:
    """The interface of a progress bar that the transfer uses (`total`, update, reset, close), as lines in the log."""

    def __init__(self, name, done=0):
        self.name, self.done, self.total = name, done, 0
        self._offset, self._shown = done, time.monotonic()

    def update(self, count):
        """Another `count` bytes have arrived."""
        self.done += count
        if time.monotonic() - self._shown >= LINE_PERIOD_S:
            self._shown = time.monotonic()
            total = f" of {(self._offset + self.total) / MEGA:.0f}" if self.total else ""
            _LOG.info("%s: %.0f%s MB", self.name, self.done / MEGA, total)

    def reset(self):
        """Start counting again."""
        self.done = self._offset

    def close(self):
        """The transfer has ended."""


def progress_of(name):
    """A progress bar for the transfer of a file."""
    if sys.stderr.isatty():
        return tqdm(desc=name, unit="B", unit_scale=True, leave=True)
    return LogLines(name)
