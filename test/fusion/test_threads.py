# SPDX-License-Identifier: Apache-2.0
"""The merge works on one core without taking the other cores from anybody, however calls overlap in threads."""

import threading

import numpy as np
import pytest
import torch

from yoso_ros.fusion.threads import one_thread


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def in_a_new_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join(20)
    return found[0]


def test_a_thread_that_begins_meanwhile_has_all_cores():
    with one_thread():
        assert torch.get_num_threads() == 1
        assert in_a_new_thread(torch.get_num_threads) == 2
    assert torch.get_num_threads() == 2


def test_overlapping_calls_leave_every_thread_as_it_was():
    inside, leave, found = threading.Barrier(2, timeout=20), threading.Barrier(2, timeout=20), {}

    def first():
        with one_thread():
            inside.wait()
            found["first"] = torch.get_num_threads()
        leave.wait()

    def last():
        with one_thread():
            inside.wait()
            leave.wait()
            found["last inside"] = torch.get_num_threads()
        found["last"] = torch.get_num_threads()

    threads = [threading.Thread(target=first), threading.Thread(target=last)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == {"first": 1, "last inside": 1, "last": 2}
    assert torch.get_num_threads() == in_a_new_thread(torch.get_num_threads) == 2


def test_two_segmenters_in_two_threads_do_not_slow_each_other_for_good():
    import yoso_ros

    def run(segmenter, seed):
        frame = np.random.default_rng(seed).integers(0, 256, (96, 128, 3), np.uint8)
        return [segmenter(frame).panoptic for _ in range(6)], torch.get_num_threads()

    segmenters = [yoso_ros.load_segmenter("yoso_mobilenetv2_synthetic", device="cpu", engine="torch") for _ in range(2)]
    alone = [run(segmenter, seed)[0][0] for seed, segmenter in enumerate(segmenters)]
    found = [None, None]

    def target(index):
        found[index] = run(segmenters[index], index)

    threads = [threading.Thread(target=target, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    for (maps, number), expected in zip(found, alone, strict=True):
        assert number == 2
        assert all((panoptic == expected).all() for panoptic in maps)
    assert torch.get_num_threads() == in_a_new_thread(torch.get_num_threads) == 2
