# SPDX-License-Identifier: Apache-2.0
"""Steps of a start that take long, once: the log tells that they go on."""

import contextlib
import logging
import threading
import time

_LOG = logging.getLogger(__name__)
PERIOD_S = 5.0  # between two lines about a step


@contextlib.contextmanager
def told(step, done):
    """Log that a step begins, every `PERIOD_S` that it goes on, and how long it took when it has not failed.

    Args:
        step: what is done, such as "exporting the graph of yoso_r50_coco (once, 15 to 45 s)".
        done: what to say at its end, such as "exported".
    """
    started, ended = time.perf_counter(), threading.Event()

    def tell():
        while not ended.wait(PERIOD_S):
            _LOG.info("%s: %.0f s so far", step, time.perf_counter() - started)

    _LOG.info("%s", step)
    thread = threading.Thread(target=tell, name="long step", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    _LOG.info("%s in %.0f s", done, time.perf_counter() - started)
