# SPDX-License-Identifier: Apache-2.0
"""One thread that works on the latest item only: delivering never waits, and old items are replaced, not queued."""

import threading
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the items; received = processed + dropped + failed + those waiting or in work (at most 2)."""

    received: int = 0
    processed: int = 0
    dropped: int = 0
    failed: int = 0


class LatestItemWorker:
    """Calls `work` on the newest item, in a thread of its own.

    Args:
        work: called with (item, received, started): the two times are `time.perf_counter()` seconds of the delivery and
            of the start of work. An exception means that this item failed.
        done: called after each item with (item, value that `work` returned, error or None); the counts then include
            the item.
        name: name of the thread.
    """

    def __init__(self, work, done, name="worker"):
        self._work, self._done, self._name = work, done, name
        self._changed = threading.Condition()
        self._waiting = None  # (item, time received)
        self._stopping = False
        self._thread = None
        self._received = self._processed = self._dropped = self._failed = 0
        self._min_period = 0.0

    @property
    def counts(self):
        """`Counts` since the worker was made."""
        with self._changed:
            return Counts(self._received, self._processed, self._dropped, self._failed)

    def limit_rate(self, max_rate_hz):
        """Start work at most so many times a second, by the steady clock; 0 for no limit. The newest item waits."""
        with self._changed:
            self._min_period = 1.0 / max_rate_hz if max_rate_hz > 0 else 0.0
            self._changed.notify()

    def deliver(self, item):
        """Hand over an item without waiting; one that waits already is dropped."""
        received = time.perf_counter()
        with self._changed:
            self._received += 1
            self._dropped += self._waiting is not None
            self._waiting = (item, received)
            self._changed.notify()

    def start(self):
        """Start the thread; nothing happens when it runs already."""
        if self._thread is None:
            self._stopping = False
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def stop(self, timeout):
        """Stop after the item in work, dropping the one that waits.

        Returns:
            True when the thread ended within `timeout` seconds.
        """
        with self._changed:
            self._stopping = True
            self._dropped += self._waiting is not None
            self._waiting = None
            self._changed.notify()
        if self._thread is None:
            return True
        self._thread.join(timeout)
        ended = not self._thread.is_alive()
        if ended:
            self._thread = None
        return ended

    def _run(self):
        last_start = -float("inf")
        while True:
            with self._changed:
                while not self._stopping:
                    pause = last_start + self._min_period - time.perf_counter()
                    if self._waiting is not None and pause <= 0:
                        break
                    # Without an item only a notification ends the wait; with one, the rate limit does.
                    self._changed.wait(pause if self._waiting is not None else None)
                if self._stopping:
                    return
                item, received = self._waiting
                self._waiting = None
            last_start = time.perf_counter()
            self._process(item, received, last_start)

    def _process(self, item, received, started):
        value, error = None, None
        try:
            value = self._work(item, received, started)
        except Exception as caught:  # whatever one frame does, the next one must be served
            error = caught
        with self._changed:
            self._processed += error is None
            self._failed += error is not None
        self._done(item, value, error)
