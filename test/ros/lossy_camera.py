# SPDX-License-Identifier: Apache-2.0
"""A camera that sends best effort: a small image, twelve of 2.8 MB and a small one again: lossy_camera.py TOPIC."""

import array
import sys
import time

import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image


def main(topic):
    """Send once somebody listens, then wait to be ended."""
    rclpy.init()
    node = rclpy.create_node("lossy_camera")
    publisher = node.create_publisher(Image, topic, QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
    while publisher.get_subscription_count() == 0:
        time.sleep(0.05)
    time.sleep(1.0)  # the subscriber learns of the publisher a little later
    sizes = [(8, 8), *[(720, 1280)] * 12, (8, 8)]
    for second, (height, width) in enumerate(sizes):
        message = Image(height=height, width=width, step=3 * width, encoding="rgb8")
        message.header.stamp.sec = second
        message.data = array.array("B", bytes(3 * height * width))
        publisher.publish(message)
        time.sleep(0.2)
    print(f"sent {len(sizes)}", flush=True)
    time.sleep(60)


if __name__ == "__main__":
    main(sys.argv[1])
