# SPDX-License-Identifier: Apache-2.0
"""A process that plays a recording to the node like a camera, on command, and reports when it published each frame."""

import itertools
import json
import sys
import time

import rclpy

from yoso_ros.bags import open_source
from yoso_ros.errors import InputError
from yoso_ros.ros.runs.playback import FramePublisher, Pacer

BUFFERED_FRAMES = 10  # played repeatedly if the rate matters and not the length


class ReplayPlayer:
    """Answers the commands of `yoso_ros.benchmark.node_bench.Bench`, a line of JSON each.

    Frames are stamped with the time of publishing, like a camera's, so that ages are real.

    "subscribers": how many subscribers the image topic has.
    "RATE_HZ COUNT": play the first frames repeatedly.
    "play RATE_HZ SPEED COUNT": play this many frames of the recording, at a rate, or with rate 0 at the recorded
    intervals divided by the speed. Both answer [[stamp ns, time of publishing ns, recorded stamp ns], ...]; times are
    CLOCK_MONOTONIC.

    Args:
        source: opened source (`yoso_ros.bags.open_source`).
        prefix: of the topics image_raw (or image_raw/compressed) and camera_info.

    Raises:
        InputError: the source has no frames.
    """

    def __init__(self, source, prefix):
        self._source = source
        self._first = list(itertools.islice(source, BUFFERED_FRAMES))
        if not self._first:
            raise InputError(f"{source.name}: expected frames, found none")
        self._node = rclpy.create_node("replay_player")
        # Reliable, in case the node requires it; best-effort subscribers receive it too.
        self._publisher = FramePublisher(self._node, self._first[0].kind, prefix=prefix)

    def serve(self, lines):
        """Answer the commands from an iterable of lines until it ends."""
        for line in lines:
            name, *values = line.split()
            if name == "subscribers":
                _answer(self._publisher.subscription_count)
            elif name == "play":
                rate, speed, count = float(values[0]), float(values[1]), int(values[2])
                _answer(self._play(itertools.islice(self._source, count), Pacer(rate, speed)))
            else:
                frames = itertools.islice(itertools.cycle(self._first), int(values[0]))
                _answer(self._play(frames, Pacer(float(name))))
        self._node.destroy_node()

    def _play(self, frames, pacer):
        sent, last = [], 0
        for frame in frames:
            time.sleep(pacer.seconds_until(frame.stamp_ns))
            # The system clock may step back, and frames are identified by their stamps.
            last = max(time.time_ns(), last + 1)
            sent.append((last, time.monotonic_ns(), frame.stamp_ns))
            self._publisher.publish(frame, last)
        return sent


def _answer(value):
    print(json.dumps(value), flush=True)


def main(source, topic, prefix, first="0"):
    """Serve stdin until its end, with the frames from number `first` on; an empty topic is the only camera topic."""
    rclpy.init(args=[])
    player = ReplayPlayer(open_source(source, topic or None).part(int(first)), prefix)
    _answer("ready")
    player.serve(sys.stdin)
    rclpy.shutdown()
