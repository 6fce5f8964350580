# SPDX-License-Identifier: Apache-2.0
"""The worker without ROS: newest item first at every stage, what is dropped and failed is counted, nothing waits."""

import threading
import time

import pytest

from yoso_ros.ros.worker import Counts, LatestItemsWorker


class Recorder:
    """Work that waits at a gate and remembers; an item that is an exception is its own outcome."""

    def __init__(self):
        self.gate = threading.Event()
        self.gate.set()
        self.begun, self.batches, self.finished, self.started_at = [], [], [], []
        self.changed = threading.Condition()
        self.pass_s = 0.0
        self.worker = LatestItemsWorker([self.work], self.done)

    def work(self, job):
        started, batch = time.perf_counter(), list(job.deliveries.values())
        assert all(d.received <= started for d in batch)
        with self.changed:
            self.batches.append([(d.source, d.item) for d in batch])
            self.begun += [d.item for d in batch]
            self.started_at.append(started)
            self.changed.notify_all()
        assert self.gate.wait(5)
        time.sleep(self.pass_s)
        return {d.source: d.item if isinstance(d.item, Exception) else f"value of {d.item}" for d in batch}

    def done(self, delivery, value, error):
        with self.changed:
            self.finished.append((delivery.item, value, error, self.worker.counts_of(delivery.source)))
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
    assert recorder.worker.counts_of("") == Counts(received=5, processed=2, dropped=3, failed=0)


def test_a_failure_is_counted_and_the_next_item_works(recorder):
    error = ValueError("broken")
    for item in (error, "good"):
        recorder.worker.deliver(item)
        recorder.wait(lambda item=item: recorder.finished and recorder.finished[-1][0] is item)
    assert recorder.finished[0] == (error, None, error, Counts(1, 0, 0, 1))
    assert recorder.finished[1] == ("good", "value of good", None, Counts(2, 1, 0, 1))


def test_delivering_never_waits_for_the_work(recorder):
    recorder.gate.clear()  # whoever waits for the work now, waits for ever
    for item in range(1000):
        recorder.worker.deliver(item)
    assert not recorder.finished


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
    counts = recorder.worker.counts_of("")
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
    assert recorder.worker.counts_of("") == Counts(2, 1, 1, 0)
    recorder.worker.start()
    recorder.worker.deliver("again")
    recorder.wait(lambda: recorder.begun[-1] == "again")


def test_a_pass_takes_the_newest_item_of_every_source_in_the_order_of_arrival(recorder):
    recorder.gate.clear()
    recorder.worker.deliver("a0", "a")
    recorder.wait(lambda: recorder.begun)
    for item in ("b1", "a1", "c1", "b2", "a2"):
        recorder.worker.deliver(item, item[0])
    recorder.gate.set()
    recorder.wait(lambda: len(recorder.finished) == 4)
    assert recorder.batches == [[("a", "a0")], [("c", "c1"), ("b", "b2"), ("a", "a2")]]
    counts = {source: recorder.worker.counts_of(source) for source in "abcd"}
    assert counts == {"a": Counts(3, 2, 1, 0), "b": Counts(2, 1, 1, 0), "c": Counts(1, 1, 0, 0), "d": Counts()}
    assert recorder.worker.counts_of(*"abcd") == Counts(6, 4, 2, 0)


def test_a_slow_source_is_in_every_pass_beside_fast_ones(recorder):
    """Two sources flood the worker from threads of their own; a third that sends once per pass loses nothing."""
    stop = threading.Event()
    recorder.pass_s = 0.005

    def flood(source):
        while not stop.is_set():
            recorder.worker.deliver("flood", source)
            time.sleep(0.0005)

    threads = [threading.Thread(target=flood, args=(source,)) for source in ("left", "right")]
    for thread in threads:
        thread.start()
    try:
        for number in range(30):
            recorder.worker.deliver(number, "slow")
            recorder.wait(lambda number=number: number in recorder.begun)
    finally:
        stop.set()
        for thread in threads:
            thread.join(5)
    assert recorder.worker.counts_of("slow").dropped == 0
    assert [item for item in recorder.begun if item != "flood"] == list(range(30))
    for source in ("left", "right"):
        assert recorder.worker.counts_of(source).processed > 10, "the others are served meanwhile"


def test_one_failure_in_a_pass_leaves_the_others(recorder):
    recorder.gate.clear()
    recorder.worker.deliver("first", "a")
    recorder.wait(lambda: recorder.begun)
    error = ValueError("broken")
    recorder.worker.deliver(error, "a")
    recorder.worker.deliver("good", "b")
    recorder.gate.set()
    recorder.wait(lambda: len(recorder.finished) == 3)
    assert [entry[:3] for entry in recorder.finished[1:]] == [(error, None, error), ("good", "value of good", None)]
    assert (recorder.worker.counts_of("a").failed, recorder.worker.counts_of("b").processed) == (1, 1)


class Stages:
    """Three stages, each with a gate; an item is a dict whose "fails" names the stage that it fails in."""

    def __init__(self, apart=()):
        self.gates = [threading.Semaphore(0) for _ in range(3)]
        self.begun, self.finished = [[], [], []], []
        self.changed = threading.Condition()
        stages = [lambda job, number=number: self.work(number, job) for number in range(3)]
        self.worker = LatestItemsWorker(stages, self.done, apart)
        self.worker.start()

    def work(self, number, job):
        batch = job.deliveries.values()
        assert job.content == (number or None), "what the stage before has left"
        job.content = number + 1
        with self.changed:
            self.begun[number].append([d.item["name"] for d in batch])
            self.changed.notify_all()
        assert self.gates[number].acquire(timeout=5)
        failed = {d.source: ValueError(f"{d.item['name']}") for d in batch if d.item.get("fails") == number}
        return failed | ({s: "done" for s in job.deliveries if s not in failed} if number == 2 else {})

    def done(self, delivery, value, error):
        with self.changed:
            self.finished.append((delivery.item["name"], value, error and str(error)))
            self.changed.notify_all()

    def deliver(self, name, source="", fails=None):
        self.worker.deliver({"name": name, "fails": fails}, source)

    def wait(self, condition):
        with self.changed:
            assert self.changed.wait_for(condition, 5), (self.begun, self.finished)

    def wait_for(self, number, name):
        self.wait(lambda: self.begun[number] and name in self.begun[number][-1])

    def wait_for_drops(self, count, source=""):
        deadline = time.monotonic() + 5
        while self.worker.counts_of(source).dropped < count:
            assert time.monotonic() < deadline, (count, self.begun)
            time.sleep(0.002)

    def open(self, *numbers, count=1):
        for number in numbers:
            self.gates[number].release(count)

    def fill(self):
        """Items 1, 2 and 3 in the last, the second and the first stage."""
        for name, before in (("1", (0, 1)), ("2", (0,)), ("3", ())):
            self.deliver(name)
            for number in before:
                self.wait_for(number, name)
                self.open(number)
            self.wait_for(len(before), name)


def test_stages_work_side_by_side_and_the_newest_waits_for_each():
    stages = Stages()
    stages.fill()
    stages.deliver("4")
    stages.deliver("5")
    stages.open(0)
    stages.wait_for(0, "5")
    stages.open(0)
    stages.wait_for_drops(2)  # 4 waited for the first stage, 3 for the second
    stages.open(1)
    stages.wait_for(1, "5")
    stages.open(1)
    stages.wait_for_drops(3)  # 2 waited for the third
    stages.deliver("6")
    stages.wait_for(0, "6")
    stages.open(0)
    stages.wait_for(1, "6")
    stages.open(2)
    stages.wait_for(2, "5")
    stages.open(1, 2)
    stages.wait_for(2, "6")
    stages.open(2)
    stages.wait(lambda: len(stages.finished) == 3)
    assert stages.finished == [(name, "done", None) for name in "156"], "in order, the newest last"
    assert stages.worker.counts_of("") == Counts(received=6, processed=3, dropped=3)
    assert stages.worker.stop(5)


def test_stop_ends_with_what_the_last_stages_have_and_start_resumes():
    stages = Stages()
    stages.fill()
    stages.deliver("4")
    assert not stages.worker.stop(0.05)
    stages.open(0, 1, 2, count=5)
    assert stages.worker.stop(5)
    assert [name for name, *_ in stages.finished] == ["1", "2"]
    assert stages.worker.counts_of("") == Counts(received=4, processed=2, dropped=2)
    stages.worker.start()
    stages.deliver("5")
    stages.wait(lambda: stages.finished[-1][0] == "5")
    assert stages.worker.stop(5)


def test_a_failure_in_any_stage_is_that_of_its_item_alone():
    stages = Stages()
    for number in range(3):
        stages.deliver("before", "a")
        stages.wait_for(0, "before")
        stages.deliver("bad", "a", fails=number)
        stages.deliver("good", "b")
        stages.open(0)
        stages.wait_for(0, "bad")
        stages.open(1)
        stages.wait_for(2, "before")
        stages.open(0, 1, 2)
        stages.open(2)
        stages.wait(lambda number=number: len(stages.finished) == 3 * (number + 1))
        assert {("bad", None, "bad"), ("good", "done", None)} < set(stages.finished[3 * number :])
    assert stages.worker.stop(5)
    assert stages.worker.counts_of("a") == Counts(received=6, processed=3, failed=3)


def test_a_pass_that_has_the_only_item_of_a_source_is_not_replaced_and_requests_go_by():
    stages = Stages(apart=("request",))
    stages.deliver("a1", "a")
    stages.wait_for(0, "a1")
    stages.open(0)
    stages.wait_for(1, "a1")
    stages.deliver("b1", "b")
    stages.wait_for(0, "b1")
    stages.open(0)
    stages.deliver("a2", "a")
    stages.deliver("r", "request")
    stages.wait_for(0, "r")
    stages.deliver("b2", "b")
    stages.open(0)
    stages.wait_for(0, "a2")
    assert stages.begun[0] == [["a1"], ["b1"], ["r"], ["a2", "b2"]], "a2 alone would have taken the place of b1"
    stages.open(0)
    stages.wait_for_drops(1, "b")
    for name in ("r", "a2"):
        stages.open(1)
        stages.wait_for(1, name)
        stages.open(2)
    stages.open(1, 2)
    stages.wait(lambda: len(stages.finished) == 4)
    assert [name for name, *_ in stages.finished] == ["a1", "r", "a2", "b2"]
    assert stages.worker.counts_of("a", "b", "request") == Counts(received=5, processed=4, dropped=1)
    assert stages.worker.stop(5)
