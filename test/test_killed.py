# SPDX-License-Identifier: Apache-2.0
"""Writers that are killed at a random moment: what is there is whole, and the next run removes what was left."""

import os
import random
import signal
import time

import numpy as np
import pytest

from yoso_ros.bags import open_source
from yoso_ros.bags.frames import RawImage
from yoso_ros.bags.message_types import header, picture_message
from yoso_ros.bags.writing import BagWriter
from yoso_ros.files import write_file

LARGE, FRAMES = bytes(range(256)) * 20_000, 15


def write_recording(folder):
    with BagWriter(folder / "bag") as writer:
        for index in range(FRAMES):
            data = np.full(200 * 100 * 3, index, np.uint8)
            image = picture_message(RawImage(100, 200, "rgb8", 0, 600, data), header(10**9 + index, "cam"))
            writer.write("/cam/image_raw", 10**9 + index, image)


def check_recording(folder):
    source = open_source(folder / "bag")
    assert [int(f.image.data[0]) for f in source] == list(range(FRAMES)) and not source.losses and not source.unchecked


def write_report(folder):
    write_file(folder / "report.bin", LARGE)


def check_report(folder):
    assert (folder / "report.bin").read_bytes() == LARGE


@pytest.mark.parametrize(("name", "write", "check"), [
    ("bag", write_recording, check_recording),
    ("report.bin", write_report, check_report),
])  # fmt: skip
def test_killed_at_a_random_moment(tmp_path, name, write, check):
    begin = time.monotonic()
    write(tmp_path / "once")  # how long it takes
    longest = 1.2 * (time.monotonic() - begin)
    generator, seen = random.Random(5), []
    for number in range(8):
        folder = tmp_path / str(number)
        folder.mkdir()
        child = os.fork()
        if not child:
            write(folder)
            os._exit(0)
        time.sleep(generator.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        seen.append((folder / name).exists())
        if seen[-1]:
            check(folder)
            continue
        write(folder)
        check(folder)
        assert [p.name for p in folder.iterdir()] == [name], "what the killed one left is gone"
