# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C while compiled code works: Python runs handlers of signals only between two steps of its own."""

import contextlib
import os
import signal
import sys
import threading

GRACE_S = 1.0  # from a stop signal to the end of the process, for a step that ends by itself
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_exit_code = None  # of a program that called `end_steps_on_signals`


def end_steps_on_signals(exit_code):
    """From here on a stop signal also ends the process within a long step; called by programs, not by libraries.

    The converters work for minutes in compiled code, and swallow a KeyboardInterrupt that is raised in their callbacks.

    Args:
        exit_code: of the process that is ended this way.
    """
    global _exit_code
    _exit_code = exit_code


@contextlib.contextmanager
def ended_by_signals():
    """Around a step in compiled code: a stop signal within it ends the process, if the program has asked for that."""
    # Only the main thread runs handlers of signals; while another one works at a step, they run as ever.
    if _exit_code is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    code, over, stopped = _exit_code, threading.Event(), threading.Event()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def watch():
        for number in iter(lambda: os.read(reading, 1)[0], 0):
            if number in STOP_SIGNALS:
                stopped.set()
                if not over.wait(GRACE_S):
                    os._exit(code)  # what is half-written has a temporary name, which the next run removes

    # Python writes the number of each signal there at once, whatever the main thread does.
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch, name="signals within a long step", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        os.write(writing, b"\0")
        watcher.join()
        os.close(reading)
        os.close(writing)
        if stopped.is_set() and sys.exc_info()[0] is not KeyboardInterrupt:
            os._exit(code)  # the step has swallowed the signal
