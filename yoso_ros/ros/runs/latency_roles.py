# SPDX-License-Identifier: Apache-2.0
"""The processes around a measured node: a camera or the player of a recording, a monitor, and a node without a network.

All but the node read commands from stdin and answer each with a line of JSON. Times are CLOCK_MONOTONIC nanoseconds,
which all processes of a machine share; frames are identified by their stamps.
"""

import array
import json
import sys
import threading
import time

import cv2
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from yoso_ros.bags import open_source
from yoso_ros.benchmark.constant_segmenter import ConstantSegmenter
from yoso_ros.images.decoding import decode_compressed, decode_image
from yoso_ros.stamps import seconds_and_nanoseconds

IMAGE_TOPIC = "/benchmark/image_raw"
DISTINCT_FRAMES = 3  # played alternately, so that caching the last frame gains nothing
CAMERA_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


def camera(height, width, source, names=()):
    """Command "RATE_HZ COUNT": publish this many frames; answers [[stamp ns, time of publishing ns], ...].

    Command "subscribers": answers how many subscribers the image topic has, the minimum over all cameras.

    Args:
        height, width: of the images. source: of the images.
        names: of several cameras, each with a topic below its name, that publish simultaneously; none for a single one.
    """
    messages = _messages(height, width, source)
    rclpy.init(args=[])
    node = rclpy.create_node("benchmark_camera")
    topics = [f"/{name}/image_raw" for name in names] or [IMAGE_TOPIC]
    publishers = [node.create_publisher(Image, topic, CAMERA_QOS) for topic in topics]
    _answer("ready")
    for line in sys.stdin:
        if line.strip() == "subscribers":
            _answer(min(publisher.get_subscription_count() for publisher in publishers))
            continue
        rate, count = float(line.split()[0]), int(line.split()[1])
        sent, start = [], time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, start + number / rate - time.monotonic()))
            message = messages[number % len(messages)]
            for publisher in publishers:
                stamp = time.time_ns()
                message.header.stamp.sec, message.header.stamp.nanosec = seconds_and_nanoseconds(stamp)
                sent.append((stamp, time.monotonic_ns()))
                publisher.publish(message)
        _answer(sent)
    node.destroy_node()
    rclpy.shutdown()


def listener(topics):
    """Receive image topics and ignore them until the end of stdin."""
    rclpy.init(args=[])
    node = rclpy.create_node("benchmark_listener")
    for topic in topics:
        node.create_subscription(Image, topic, lambda data: None, QoSProfile(depth=1), raw=True)
    threading.Thread(target=rclpy.spin, args=(node,), daemon=True).start()
    _answer("ready")
    sys.stdin.read()


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


def _answer(value):
    print(json.dumps(value), flush=True)


def main(arguments):
    """Run one of the roles.

    `camera HEIGHT WIDTH SOURCE [NAME ...]`, `player SOURCE TOPIC PREFIX`, `monitor NODE_NAME [CAMERA ...]`,
    `listener TOPIC ...`, `soak MODEL BAD_EVERY HxW ...`, `lifecycle NODE_NAME`, or `node` with the arguments of
    panoptic_node.
    """
    role, *values = arguments
    if role == "camera":
        camera(int(values[0]), int(values[1]), values[2], values[3:])
    elif role == "player":
        from yoso_ros.ros.runs.replay_player import main as player_main

        player_main(*values)
    elif role == "listener":
        listener(values)
    elif role == "monitor":
        from yoso_ros.ros.runs.answer_monitor import main as monitor_main

        monitor_main(*values)
    elif role == "soak":
        from yoso_ros.ros.runs.soak_side import main as soak_main

        soak_main(*values)
    elif role == "lifecycle":
        from yoso_ros.ros.runs.lifecycle_caller import main as lifecycle_main

        lifecycle_main(*values)
    else:
        from yoso_ros.ros.node import main as node_main

        return node_main(load_segmenter=ConstantSegmenter)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
