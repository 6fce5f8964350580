# SPDX-License-Identifier: Apache-2.0
"""The worker without ROS: newest item first, what is dropped and failed is counted, delivering never waits."""

import threading
import time

import pytest

from yoso_ros.ros.worker import Counts, LatestItemWorker


class Recorder:
    """Work that waits at a gate and remembers; an item that is an exception is raised."""

    def __init__(self):
        self.gate = threading.Event()
        self.gate.set()
        self.begun, self.finished, self.started_at = [], [], []
        self.changed = threading.Condition()
        self.worker = LatestItemWorker(self.work, self.done)

    def work(self, item, received, started):
        assert received <= started <= time.perf_counter()
        with self.changed:
            self.begun.append(item)
            self.started_at.append(started)
            self.changed.notify_all()
        assert self.gate.wait(5)
        if isinstance(item, Exception):
            raise item
        return f"value of {item}"

    def done(self, item, value, error):
        with self.changed:
            self.finished.append((item, value, error, self.worker.counts))
            self.changed.notify_all()

    def wait(self, condition):
        with self.changed:
            assert self.changed.wait_for(condition, 5)


@pytest.fixture
def recorder():
    recorder = Recorder()
    recorder.worker.start()
    yield recorder
    recorder.gate.set()
    assert recorder.worker.stop(5)


def test_the_newest_waiting_item_replaces_the_others(recorder):
    recorder.gate.clear()
    recorder.worker.deliver("a")
    recorder.wait(lambda: recorder.begun == ["a"])
    for item in "bcde":
        recorder.worker.deliver(item)
    recorder.gate.set()
    recorder.wait(lambda: len(recorder.finished) == 2)
    assert recorder.begun == ["a", "e"]
    assert recorder.worker.counts == Counts(received=5, processed=2, dropped=3, failed=0)


def test_a_failure_is_counted_and_the_next_item_works(recorder):
    error = ValueError("broken")
    for item in (error, "good"):
        recorder.worker.deliver(item)
        recorder.wait(lambda item=item: recorder.finished and recorder.finished[-1][0] is item)
    assert recorder.finished[0] == (error, None, error, Counts(1, 0, 0, 1))
    assert recorder.finished[1] == ("good", "value of good", None, Counts(2, 1, 0, 1))


def test_delivering_never_waits_for_the_work(recorder):
    recorder.gate.clear()
    started = time.perf_counter()
    for item in range(1000):
        recorder.worker.deliver(item)
    assert time.perf_counter() - started < 0.5


def test_the_rate_limit_spaces_the_starts_and_takes_the_newest(recorder):
    recorder.worker.limit_rate(10)
    for item in range(45):
        recorder.worker.deliver(item)
        time.sleep(0.01)
    recorder.wait(lambda: recorder.begun[-1] == 44)
    gaps = [b - a for a, b in zip(recorder.started_at, recorder.started_at[1:], strict=False)]
    assert min(gaps) >= 0.099
    assert 4 <= len(recorder.begun) <= 7
    recorder.wait(lambda: len(recorder.finished) == len(recorder.begun))
    counts = recorder.worker.counts
    assert counts.received == 45 == counts.processed + counts.dropped


def test_a_lower_limit_takes_effect_while_an_item_waits(recorder):
    recorder.worker.limit_rate(0.01)
    recorder.worker.deliver("first")
    recorder.wait(lambda: recorder.finished)
    recorder.worker.deliver("second")
    recorder.worker.limit_rate(0)
    recorder.wait(lambda: recorder.begun == ["first", "second"])


def test_stop_drops_the_waiting_item_and_start_resumes(recorder):
    recorder.gate.clear()
    recorder.worker.deliver("in work")
    recorder.wait(lambda: recorder.begun)
    recorder.worker.deliver("waiting")
    assert not recorder.worker.stop(0.05), "the item in work is not finished"
    recorder.gate.set()
    assert recorder.worker.stop(5)
    assert recorder.worker.counts == Counts(2, 1, 1, 0)
    recorder.worker.start()
    recorder.worker.deliver("again")
    recorder.wait(lambda: recorder.begun[-1] == "again")
