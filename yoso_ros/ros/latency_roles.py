# SPDX-License-Identifier: Apache-2.0
"""The processes of the latency benchmark: a camera, a monitor, and the node with a constant result.

Camera and monitor take commands on stdin and answer with a line of JSON each. Times are CLOCK_MONOTONIC nanoseconds,
which all processes of a machine share; frames are told apart by their stamps.
"""

import array
import json
import queue
import sys
import threading
import time

import cv2
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from yoso_ros.bags import open_source
from yoso_ros.benchmark.constant_segmenter import ConstantSegmenter
from yoso_ros.msg import InferenceStats, PanopticSegmentArray
from yoso_ros.ros.decoding import decode_compressed, decode_image

IMAGE_TOPIC = "/benchmark/image_raw"
DISTINCT_FRAMES = 3  # played in turn, so that nothing that remembers the last frame looks fast
LABEL_TOPICS = {"panoptic/image_raw": Image, "semantic/image_raw": Image, "panoptic/segments": PanopticSegmentArray}
# As ros2_benchmark's monitor listens: reliable and deep, so that what is lost was lost before.
MONITOR_QOS = QoSProfile(depth=1000)
CAMERA_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
POLL_S = 0.05


def camera(height, width, source):
    """Command "RATE_HZ COUNT": publish so many frames; answers [[stamp ns, time of publishing ns], ...].

    Command "subscribers": answers how many subscribers the image topic has.
    """
    messages = _messages(height, width, source)
    rclpy.init(args=[])
    node = rclpy.create_node("benchmark_camera")
    publisher = node.create_publisher(Image, IMAGE_TOPIC, CAMERA_QOS)
    _answer("ready")
    for line in sys.stdin:
        if line.strip() == "subscribers":
            _answer(publisher.get_subscription_count())
            continue
        rate, count = float(line.split()[0]), int(line.split()[1])
        sent, start = [], time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, start + number / rate - time.monotonic()))
            message, stamp = messages[number % len(messages)], time.time_ns()
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
            sent.append((stamp, time.monotonic_ns()))
            publisher.publish(message)
        _answer(sent)
    node.destroy_node()
    rclpy.shutdown()


def _messages(height, width, source):
    messages = []
    for frame in open_source(source):
        picture = (decode_image if frame.kind == "raw" else decode_compressed)(frame.image)
        pixels = cv2.cvtColor(cv2.resize(picture, (width, height)), cv2.COLOR_RGB2BGR)
        message = Image(height=height, width=width, encoding="bgr8", step=3 * width)
        message.header.frame_id = "camera"
        message.data = array.array("B", pixels.tobytes())
        messages.append(message)
        if len(messages) == DISTINCT_FRAMES:
            break
    return messages


def monitor(node_name):
    """Command "collect QUIET_S": once nothing has come for so long, answers what came since the last answer.

    The answer is {"arrived": {topic: [[stamp ns, time ns], ...]}, "stats": [{field: value}, ...]}; the stats hold their
    stamp as "stamp". Command "publishers": answers how many of the topics have a publisher.
    """
    rclpy.init(args=[])
    node = rclpy.create_node("benchmark_monitor")
    arrived, stats, last = {topic: [] for topic in LABEL_TOPICS}, [], [time.monotonic()]

    def keeper(topic):
        def keep(message):
            arrived[topic].append((_stamp(message), time.monotonic_ns()))
            last[0] = time.monotonic()

        return keep

    def keep_stats(message):
        numbers = {name: getattr(message, name) for name in message.get_fields_and_field_types() if name != "header"}
        stats.append(numbers | {"stamp": _stamp(message)})
        last[0] = time.monotonic()

    for topic, message_type in LABEL_TOPICS.items():
        node.create_subscription(message_type, f"{node_name}/{topic}", keeper(topic), MONITOR_QOS)
    node.create_subscription(InferenceStats, f"{node_name}/stats", keep_stats, MONITOR_QOS)
    commands = queue.SimpleQueue()
    threading.Thread(target=_read_commands, args=(commands,), daemon=True).start()
    _answer("ready")
    command = None
    while command != ["end"]:
        rclpy.spin_once(node, timeout_sec=POLL_S)
        if command is None and not commands.empty():
            command = commands.get()
        if command == ["publishers"]:
            names = [*(f"{node_name}/{topic}" for topic in LABEL_TOPICS), f"{node_name}/stats"]
            _answer(sum(node.count_publishers(name) > 0 for name in names))
            command = None
        elif command and command[0] == "collect" and time.monotonic() - last[0] > float(command[1]):
            _answer({"arrived": arrived, "stats": stats})
            for entries in (*arrived.values(), stats):
                entries.clear()
            command = None
    node.destroy_node()
    rclpy.shutdown()


def _read_commands(commands):
    for line in sys.stdin:
        commands.put(line.split())
    commands.put(["end"])


def _stamp(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def _answer(value):
    print(json.dumps(value), flush=True)


def main(arguments):
    """`camera HEIGHT WIDTH SOURCE`, `monitor NODE_NAME`, or `node` with the arguments of panoptic_node."""
    if arguments[0] == "camera":
        camera(int(arguments[1]), int(arguments[2]), arguments[3])
    elif arguments[0] == "monitor":
        monitor(arguments[1])
    else:
        from yoso_ros.ros.node import main as node_main

        return node_main(load_segmenter=ConstantSegmenter)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
