# SPDX-License-Identifier: Apache-2.0
"""Stages that work concurrently on the latest item of each source: delivery never waits, old items are replaced."""

import threading
import time
from collections import deque
from dataclasses import dataclass, field

REMEMBERED = 4  # number of durations from which the next one is predicted


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of items; received = processed + dropped + failed + those waiting or in progress."""

    received: int = 0
    processed: int = 0
    dropped: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Delivery:
    """An item with its source and the time of its delivery, in `time.perf_counter()` seconds."""

    source: str
    item: object
    received: float


@dataclass(slots=True, eq=False)
class Job:
    """Items that go through the stages together, at most one of each source.

    Attributes:
        deliveries: dict of source to `Delivery`, in order of arrival; without those that already have an outcome.
        content: data from one stage for the next.
        ready: when it was handed to the stage it is waiting for.
    """

    deliveries: dict = field(default_factory=dict)
    content: object = None
    ready: float = -float("inf")

    def replaces(self, older):
        """Whether an older job can be dropped: each of its sources has a newer item here."""
        return older is None or older.deliveries.keys() <= self.deliveries.keys()


class _Stage:
    """One stage: its function, the jobs waiting for it, and the duration of its work."""

    def __init__(self, work, lock):
        self.work, self.changed = work, threading.Condition(lock)
        self.waiting = {}  # group to Job, in order of arrival
        self.begun = None  # when the current job began
        self.durations = deque(maxlen=REMEMBERED)

    def free_at(self, now):
        """The earliest time at which the current work can be done, from the shortest of the last durations."""
        return now if self.begun is None else max(now, self.begun + min(self.durations, default=0.0))

    @property
    def longest(self):
        """The longest time that the next work is expected to take."""
        return max(self.durations, default=0.0)


class LatestItemsWorker:
    """Takes the newest item of each source through stages, each in a separate thread.

    A pass takes everything that is waiting, at most one item of each source, in order of arrival. So no source starves,
    however fast the others are, and a single source is served at once. While one stage works on a pass, the previous
    stage works on the next; a waiting pass is replaced by a newer one that has an item of each of its sources. A stage
    starts as late as possible without making the next one wait, so that its items are recent and little work is
    discarded.

    Args:
        stages: list of functions, called in order with a `Job`. Each returns a dict of source to outcome for the items
            that it finishes: a value, or the exception by which the item failed. The last one returns an outcome for
            every item. An exception raised by a stage is the outcome of all items.
        done: called after each item with (its `Delivery`, value or None, error or None), all in one thread; the counts
            then include all items that ended together.
        apart: sources whose items do not share a pass with others.
        name: of the threads.
    """

    def __init__(self, stages, done, apart=(), name="worker"):
        self._done, self._apart, self._name = done, apart, name
        self._lock = threading.Lock()
        self._stages = [_Stage(work, self._lock) for work in stages]
        self._last = self._stages[-1]
        self._ended = deque()  # (Delivery, outcome) to report
        self._stopping = False
        self._threads = []
        self._running = 0  # threads of the stages before the last
        self._counts = {}  # source to a dict of the fields of Counts
        self._min_period, self._last_start = 0.0, -float("inf")

    def counts_of(self, *sources):
        """Total `Counts` of some sources since the worker was created."""
        with self._lock:
            known = [self._counts[source] for source in sources if source in self._counts]
            return Counts(*(sum(counts[name] for counts in known) for name in Counts.__slots__))

    def limit_rate(self, max_rate_hz):
        """Limit how many times per second work starts, by the steady clock; 0 for no limit. The newest items wait."""
        with self._lock:
            self._min_period = 1.0 / max_rate_hz if max_rate_hz > 0 else 0.0
            self._stages[0].changed.notify()

    def deliver(self, item, source=""):
        """Deliver an item without waiting; an item of the same source that is still waiting is dropped."""
        delivery = Delivery(source, item, time.perf_counter())
        first = self._stages[0]
        with self._lock:
            self._count(source, "received")
            job = first.waiting.setdefault(source if source in self._apart else "", Job())
            if job.deliveries.pop(source, None) is not None:
                self._count(source, "dropped")
            job.deliveries[source] = delivery
            first.changed.notify()

    def _count(self, source, name):
        self._counts.setdefault(source, dict.fromkeys(Counts.__slots__, 0))[name] += 1

    def _drop(self, job):
        for source in job.deliveries if job is not None else ():
            self._count(source, "dropped")

    def start(self):
        """Start the threads; does nothing if they are running."""
        if not self._threads:
            self._stopping, self._running = False, len(self._stages) - 1
            self._threads = [
                threading.Thread(target=self._run, args=(index,), name=f"{self._name} {index + 1}", daemon=True)
                for index in range(len(self._stages))
            ]
            for thread in self._threads:
                thread.start()

    def stop(self, timeout):
        """Stop after the current work of the last two stages, dropping the rest.

        Returns:
            True if the threads ended within `timeout` seconds; None for no limit.
        """
        end = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            self._stopping = True
            for stage in self._stages[:-1] or self._stages:
                for job in stage.waiting.values():
                    self._drop(job)
                stage.waiting = {}
            for stage in self._stages:
                stage.changed.notify()
        for thread in self._threads:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))
        ended = not any(thread.is_alive() for thread in self._threads)
        if ended:
            self._threads = []
        return ended

    def _run(self, index):
        stage = self._stages[index]
        while True:
            with self._lock:
                group, job, ended = self._next(index)
            self._report(ended)
            if job is not None:
                outcomes = self._work(stage, job)
                with self._lock:
                    self._hand_on(index, group, job, outcomes)
            elif not ended:
                break
        with self._lock:
            self._running -= stage is not self._last
            self._last.changed.notify()

    def _next(self, index):
        """Wait for the next work of a stage: (group and `Job` or None, outcomes to report)."""
        stage = self._stages[index]
        while True:
            if stage is self._last and self._ended:
                ended, self._ended = self._ended, deque()
                return None, None, ended
            pause = None
            if stage.waiting and not (self._stopping and stage is not self._last):
                group, pause = self._startable(index)
                if group is not None:
                    return group, self._take(index, group), ()
            elif self._stopping and (stage is not self._last or not self._running):
                return None, None, ()
            # The wait ends with a notification, or when a waiting job may start.
            stage.changed.wait(pause)

    def _startable(self, index):
        """(Group of the job that may start now or None, seconds until one may start or None)."""
        stage, now, pause = self._stages[index], time.perf_counter(), None
        begin = self._begin_of_next(index, now)
        if index == 0:
            begin = max(begin, self._last_start + self._min_period)
        after = self._stages[index + 1].waiting if stage is not self._last else {}
        for group, job in stage.waiting.items():
            older = after.get(group)
            if not job.replaces(older):
                continue
            # A job finished a moment ago is as good; another one so soon would mostly be discarded.
            first = begin if older is None else max(begin, older.ready + stage.longest)
            if first <= now:
                return group, None
            pause = min(first - now, pause or first - now)
        return None, pause

    def _begin_of_next(self, index, now):
        """When a stage should start: as soon as it is free, but not long before the next stage is ready."""
        stage = self._stages[index]
        begin = stage.free_at(now)
        if index + 1 < len(self._stages):
            begin = max(begin, self._begin_of_next(index + 1, now) - stage.longest)
        return begin

    def _take(self, index, group):
        stage = self._stages[index]
        stage.begun = time.perf_counter()
        if index == 0:
            self._last_start = stage.begun
        job = stage.waiting.pop(group)
        self._notify_before(index)
        return job

    def _notify_before(self, index):
        for stage in self._stages[:index]:
            stage.changed.notify()

    def _work(self, stage, job):
        try:
            return stage.work(job)
        except Exception as error:  # whatever happens with these items, the next ones must be served
            return dict.fromkeys(job.deliveries, error)

    def _hand_on(self, index, group, job, outcomes):
        """Finish the items that have an outcome and pass the others to the next stage."""
        stage = self._stages[index]
        stage.durations.append(time.perf_counter() - stage.begun)
        stage.begun = None
        self._notify_before(index)
        self._ended += [(job.deliveries.pop(source), outcome) for source, outcome in outcomes.items()]
        if stage is not self._last:
            if job.deliveries:
                self._put(index + 1, group, job)
            self._last.changed.notify()

    def _put(self, index, group, job):
        following = self._stages[index]
        # After a failed item there may be no newer one of its source.
        while not (self._stopping or job.replaces(following.waiting.get(group))):
            self._stages[index - 1].changed.wait()
        if self._stopping and following is not self._last:
            return self._drop(job)
        self._drop(following.waiting.pop(group, None))
        following.waiting[group], job.ready = job, time.perf_counter()
        following.changed.notify()

    def _report(self, ended):
        if not ended:
            return
        with self._lock:
            for delivery, outcome in ended:
                self._count(delivery.source, "failed" if isinstance(outcome, Exception) else "processed")
        for delivery, outcome in ended:
            failed = isinstance(outcome, Exception)
            self._done(delivery, None if failed else outcome, outcome if failed else None)
