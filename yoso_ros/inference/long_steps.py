# SPDX-License-Identifier: Apache-2.0
"""Progress messages in the log for long one-time steps at start-up, which Ctrl-C ends too."""

import contextlib
import logging
import threading
import time

from yoso_ros.stop_signals import ended_by_signals

_LOG = logging.getLogger(__name__)
PERIOD_S = 5.0  # between two lines about a step


@contextlib.contextmanager
def told(step, done):
    """Log the start of a step, its progress every `PERIOD_S`, and its duration if it succeeds.

    Args:
        step: description, such as "exporting the graph of yoso_r50_coco (once, 15 to 45 s)".
        done: what to log at the end, such as "exported".
    """
    started, ended = time.perf_counter(), threading.Event()

    def tell():
        while not ended.wait(PERIOD_S):
            _LOG.info("%s: %.0f s so far", step, time.perf_counter() - started)

    _LOG.info("%s", step)
    thread = threading.Thread(target=tell, name="long step", daemon=True)
    thread.start()
    try:
        with ended_by_signals():
            yield
    finally:
        ended.set()
        thread.join()
    _LOG.info("%s in %.0f s", done, time.perf_counter() - started)
