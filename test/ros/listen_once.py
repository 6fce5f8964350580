# SPDX-License-Identifier: Apache-2.0
"""A process that waits for one message and writes its fields as JSON: listen_once.py TOPIC TYPE FILE [latched]."""

import importlib
import json
import sys

import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy


def plain(value):
    """A message, sequence or scalar as dicts, lists and scalars."""
    if hasattr(value, "get_fields_and_field_types"):
        return {name: plain(getattr(value, name)) for name in value.get_fields_and_field_types()}
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        return value
    return [plain(v) for v in value]


def main(topic, type_name, path, durability="volatile"):
    """Listen on `topic` for `package/msg/Type`; ends after the first message, "latched": the last one before, too."""
    package, _, name = type_name.split("/")
    message_type = getattr(importlib.import_module(f"{package}.msg"), name)
    received = []
    rclpy.init()
    node = rclpy.create_node("listen_once")
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
    if durability == "latched":
        qos.durability = DurabilityPolicy.TRANSIENT_LOCAL
    node.create_subscription(message_type, topic, received.append, qos)
    print("listening", flush=True)
    while not received:
        rclpy.spin_once(node, timeout_sec=0.1)
    with open(path, "w") as file:
        json.dump(plain(received[0]), file)
    node.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
