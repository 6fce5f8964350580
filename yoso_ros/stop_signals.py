# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C where Python's own handling is too late (compiled code works) or too early (a process is being started)."""

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


@contextlib.contextmanager
def held_back():
    """Within the block no stop signal interrupts; one that arrives is handled at its end, as if it came then.

    For the moment between the start of a process and the point from which the caller is sure to end it.
    """
    if threading.current_thread() is not threading.main_thread():  # only that one is interrupted
        yield
        return
    held = []
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    # Left alone: ignored ones, and those that are handled outside Python.
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, lambda number, frame: held.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in held:
            signal.raise_signal(number)
