# SPDX-License-Identifier: Apache-2.0
"""One thread that works on the latest item of each source: delivering never waits, old items are replaced."""

import threading
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the items; received = processed + dropped + failed + those waiting or in work."""

    received: int = 0
    processed: int = 0
    dropped: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Delivery:
    """An item with the source that it came from and the time of its delivery, in `time.perf_counter()` seconds."""

    source: str
    item: object
    received: float


class LatestItemsWorker:
    """Calls `work` on the newest item of every source that has a new one, in a thread of its own.

    Every pass takes all that waits, at most one item of each source, in the order of their arrival. So no source
    starves, however fast the others are, and a source alone is served at once.

    Args:
        work: called with (list of `Delivery`, time when work started); returns a list with a value for each of them, or
            the exception that says why this one failed. An exception that it raises means that all failed.
        done: called after each item with (its `Delivery`, value or None, error or None); the counts include all items
            of the pass by then.
        name: name of the thread.
    """

    def __init__(self, work, done, name="worker"):
        self._work, self._done, self._name = work, done, name
        self._changed = threading.Condition()
        self._waiting = {}  # source to Delivery
        self._stopping = False
        self._thread = None
        self._counts = {}  # source to a dict of the fields of Counts
        self._min_period = 0.0

    def counts_of(self, *sources):
        """`Counts` of some sources together since the worker was made."""
        with self._changed:
            known = [self._counts[source] for source in sources if source in self._counts]
            return Counts(*(sum(counts[name] for counts in known) for name in Counts.__slots__))

    def limit_rate(self, max_rate_hz):
        """Start work at most so many times a second, by the steady clock; 0 for no limit. The newest items wait."""
        with self._changed:
            self._min_period = 1.0 / max_rate_hz if max_rate_hz > 0 else 0.0
            self._changed.notify()

    def deliver(self, item, source=""):
        """Hand over an item without waiting; one of the same source that waits already is dropped."""
        received = time.perf_counter()
        with self._changed:
            self._count(source, "received")
            if self._waiting.pop(source, None) is not None:
                self._count(source, "dropped")
            self._waiting[source] = Delivery(source, item, received)
            self._changed.notify()

    def _count(self, source, name):
        self._counts.setdefault(source, dict.fromkeys(Counts.__slots__, 0))[name] += 1

    def start(self):
        """Start the thread; nothing happens when it runs already."""
        if self._thread is None:
            self._stopping = False
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def stop(self, timeout):
        """Stop after the items in work, dropping those that wait.

        Returns:
            True when the thread ended within `timeout` seconds.
        """
        with self._changed:
            self._stopping = True
            for source in self._waiting:
                self._count(source, "dropped")
            self._waiting = {}
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
                    if self._waiting and pause <= 0:
                        break
                    # Without an item only a notification ends the wait; with one, the rate limit does.
                    self._changed.wait(pause if self._waiting else None)
                if self._stopping:
                    return
                batch = list(self._waiting.values())
                self._waiting = {}
            last_start = time.perf_counter()
            self._process(batch, last_start)

    def _process(self, batch, started):
        try:
            outcomes = self._work(batch, started)
        except Exception as error:  # whatever these items do, the next ones must be served
            outcomes = [error] * len(batch)
        with self._changed:
            for delivery, outcome in zip(batch, outcomes, strict=True):
                self._count(delivery.source, "failed" if isinstance(outcome, Exception) else "processed")
        for delivery, outcome in zip(batch, outcomes, strict=True):
            failed = isinstance(outcome, Exception)
            self._done(delivery, None if failed else outcome, outcome if failed else None)
