# SPDX-License-Identifier: Apache-2.0
"""A process that monitors the node: arrival times of answers, ~/stats, and optionally a recording of the labels."""

import json
import queue
import shlex
import struct
import sys
import threading
import time

import rclpy
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image

from yoso_ros.msg import InferenceStats, PanopticSegmentArray
from yoso_ros.stamps import NANOSECONDS

LABEL_TOPICS = {"panoptic/image_raw": Image, "semantic/image_raw": Image, "panoptic/segments": PanopticSegmentArray}
TYPE_NAMES = {"panoptic/image_raw": "sensor_msgs/msg/Image", "panoptic/segments": "yoso_ros/msg/PanopticSegmentArray"}
# Like ros2_benchmark's monitor: reliable with a deep queue, so that no message is lost here.
MONITOR_QOS = QoSProfile(depth=1000)
POLL_S = 0.05
SETTLE_S = 0.5  # for labels that arrive after the stats of their frame
IN_WORK = 3  # maximum number of unfinished frames: one in the network, one waiting, one in transit
WAITING_WRITES = 64  # labels in memory while the disk is slow
FINISHED = ("processed", "dropped", "failed")


class AnswerMonitor:
    """Answers the commands of the benchmark, a line of JSON each; times are CLOCK_MONOTONIC nanoseconds.

    "publishers": whether all of the topics have a publisher.
    "collect COUNT QUIET_S": once the node is done with so many more frames, or nothing has come for the time plus
    that of the frames that may be in work, what came since the last answer:
    {"arrived": {topic: [[stamp ns, time ns], ...]}, "stats": [{field: value}, ...]}; the stats hold their stamp as
    "stamp".
    "record FOLDER": from now on panoptic labels go to a recording there; "save" ends it; both answer true.

    Args:
        node_name: full name of the panoptic node.
        cameras: names of its cameras; none for the only one. Their answers are told apart by their stamps.
    """

    def __init__(self, node_name, cameras=()):
        self._name, self._node = node_name, rclpy.create_node("benchmark_monitor")
        self._arrived, self._stats = {topic: [] for topic in LABEL_TOPICS}, []
        self._last, self._longest_s = time.monotonic(), 0.0
        self._finished, self._base = 0, None
        self._writer = None
        self._topics = [f"{node_name}/stats"]
        for prefix in [f"{node_name}/{camera}" for camera in cameras] or [node_name]:
            for topic, message_type in LABEL_TOPICS.items():
                # Raw, because building the message takes longer than receiving it.
                name = f"{prefix}/{topic}"
                self._node.create_subscription(message_type, name, self._keeper(topic), MONITOR_QOS, raw=True)
                self._topics.append(name)
        self._node.create_subscription(InferenceStats, f"{node_name}/stats", self._keep_stats, MONITOR_QOS, raw=True)

    def _keeper(self, topic):
        def keep(data):
            now = time.monotonic_ns()
            self._arrived[topic].append((serialized_stamp(data), now))
            self._last = now * 1e-9
            if self._writer is not None and topic in TYPE_NAMES:
                self._writer.put(f"{self._name}/{topic}", TYPE_NAMES[topic], time.time_ns(), data)

        return keep

    def _keep_stats(self, data):
        message = deserialize_message(data, InferenceStats)
        numbers = {name: getattr(message, name) for name in message.get_fields_and_field_types() if name != "header"}
        self._stats.append(numbers | {"stamp": serialized_stamp(data)})
        self._last = time.monotonic()
        self._longest_s = max(
            self._longest_s, 1e-3 * message.latency_ms
        )  # NaN, of a failed frame, does not compare as larger
        self._finished = sum(numbers[name] for name in FINISHED)

    def serve(self, lines):
        """Listen, and answer the commands from an iterable of lines until it ends."""
        commands = queue.SimpleQueue()
        threading.Thread(target=_read_commands, args=(lines, commands), daemon=True).start()
        command = None
        while command != ["end"]:
            rclpy.spin_once(self._node, timeout_sec=POLL_S)
            if command is None and not commands.empty():
                command = commands.get()
            if command and self._do(*command):
                command = None
        if self._writer is not None:
            self._writer.close()
        self._node.destroy_node()

    def _do(self, name, *values):
        """Answer a command, or return False to be called again."""
        if name == "publishers":
            _answer(all(self._node.count_publishers(name) > 0 for name in self._topics))
        elif name == "record":
            self._writer = _LabelWriter(values[0])
            _answer(True)
        elif name == "save":
            self._writer.close()
            self._writer = None
            _answer(True)
        elif name == "collect":
            return self._collect(int(values[0]), float(values[1]))
        return name != "end"

    def _collect(self, count, patience_s):
        quiet = time.monotonic() - self._last
        done = self._base is not None and self._finished - self._base >= count and quiet > SETTLE_S
        if not done and quiet <= patience_s + IN_WORK * self._longest_s:
            return False
        _answer({"arrived": self._arrived, "stats": self._stats})
        for entries in (*self._arrived.values(), self._stats):
            entries.clear()
        if self._finished:
            self._base = self._finished
        self._last = time.monotonic()
        return True


class _LabelWriter:
    """Writes messages to a recording in a separate thread, so that the disk does not delay arrivals."""

    def __init__(self, folder):
        # rosbags is slow to import and the benchmark does not record.
        from yoso_ros.bags.writing import BagWriter

        self._waiting, self._fault = queue.Queue(WAITING_WRITES), None
        self._thread = threading.Thread(target=self._write, args=(BagWriter(folder, compress=True),), daemon=True)
        self._thread.start()

    def put(self, *message):
        """Write (topic, type, recorded nanoseconds, CDR bytes) soon."""
        self._waiting.put(message)

    def _write(self, writer):
        try:
            with writer:
                while (message := self._waiting.get()) is not None:
                    writer.write_serialized(*message)
        except Exception as error:  # for example a full disk; a caller waiting for space in the queue must continue
            self._fault = error
            while self._waiting.get() is not None:
                pass

    def close(self):
        """Wait until everything is written. Raises the exception of the writer, if any."""
        self._waiting.put(None)
        self._thread.join()
        if self._fault is not None:
            raise self._fault


def serialized_stamp(data):
    """Stamp in nanoseconds of a serialized message that begins with its header (CDR, OMG DDSI-RTPS 10.2)."""
    order = "<" if data[1] & 1 else ">"
    seconds, nanoseconds = struct.unpack_from(f"{order}iI", data, 4)
    return seconds * NANOSECONDS + nanoseconds


def _read_commands(lines, commands):
    for line in lines:
        commands.put(shlex.split(line))
    commands.put(["end"])


def _answer(value):
    print(json.dumps(value), flush=True)


def main(node_name, *cameras):
    """Serve stdin until its end."""
    rclpy.init(args=[])
    monitor = AnswerMonitor(node_name, cameras)
    _answer("ready")
    monitor.serve(sys.stdin)
    rclpy.shutdown()
