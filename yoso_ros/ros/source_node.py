# SPDX-License-Identifier: Apache-2.0
"""A camera for tests and demonstrations: plays the rendered scene, a bag, images or a video on image_raw."""

import sys
import time

import rclpy
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rosgraph_msgs.msg import Clock

from yoso_ros.bags import open_source
from yoso_ros.errors import InputError
from yoso_ros.msg import InferenceStats
from yoso_ros.ros.context import ignore_stop_signals, open_ros
from yoso_ros.ros.runs.playback import FramePublisher, Pacer, time_message

# A subscriber seen here may not have discovered this publisher yet, and would miss what is sent until then.
SETTLE_S = 0.5
FINISH_S = 60.0  # for the node's work on the last frame
HIGHEST_RATE = 1000.0  # frames/s
CLOCK_DEPTH = STATS_DEPTH = 1  # only the newest matters

# Name: default, description. The type follows from the default.
PARAMETERS = {
    "source": ("synthetic", "synthetic, or the path of a bag, a folder of images, a video or an image"),
    "topic": ("", "image topic of a bag; empty takes the only camera topic"),
    "rate_hz": (0.0, "frames per second; 0 is the recorded rate"),
    "loop": (False, "start again at the end"),
    "reliability": ("reliable", "reliable or best_effort"),
    "stamps": ("now", "now: stamped when published, like a camera; recorded: as stored"),
    "clock": (False, "publish the stamp of each frame on /clock before the frame; needs stamps:=recorded"),
    "wait_for_subscriber": (True, "publish nothing until there is a subscriber"),
    "stats": ("", "statistics topic of a panoptic_node: at the end wait until it has finished with the last frame"),
}
CHOICES = {"reliability": ("reliable", "best_effort"), "stamps": ("now", "recorded")}


def declare_parameters(node):
    """Declare and read the parameters: dict of name to value.

    Raises:
        InputError: a value outside its range; the message says what is allowed.
    """
    values = {}
    for name, (default, description) in PARAMETERS.items():
        descriptor = ParameterDescriptor(description=description, read_only=True)
        if name == "rate_hz":
            descriptor.floating_point_range = [FloatingPointRange(from_value=0.0, to_value=HIGHEST_RATE)]
        try:
            values[name] = node.declare_parameter(name, default, descriptor).value
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise InputError(f"parameter {name}: expected {description} (0 to {HIGHEST_RATE:g}); {error}") from error
        if values[name] not in CHOICES.get(name, (values[name],)):
            raise InputError(f"parameter {name}: expected {' or '.join(CHOICES[name])}, found {values[name]!r}")
    if values["clock"] and values["stamps"] != "recorded":
        raise InputError(f"parameter clock: true needs stamps:=recorded, found stamps:={values['stamps']}")
    return values


def play(node, values):
    """Publish the source to its end, or forever with `loop`; returns the number of published frames."""
    source = open_source(values["source"], values["topic"] or None)
    if len(source) == 0:
        raise InputError(f"{values['source']}: expected frames, found none")
    publisher, pacer, count = None, Pacer(values["rate_hz"]), 0
    clock = node.create_publisher(Clock, "/clock", CLOCK_DEPTH) if values["clock"] else None
    last_stamp, shift = None, 0
    while publisher is None or values["loop"]:
        for frame in source:
            if publisher is None:
                publisher = FramePublisher(node, frame.kind, values["reliability"])
                node.get_logger().info(f"{len(source)} frames of {source.name} on {publisher.topic}")
                if values["wait_for_subscriber"]:
                    _wait_for_subscriber(node, publisher)
            if last_stamp is not None and frame.stamp_ns + shift <= last_stamp:
                # A new round: stamps continue one frame after the last one.
                step = round(1e9 / (values["rate_hz"] or source.rate_hz))
                shift = last_stamp + step - frame.stamp_ns
            last_stamp = frame.stamp_ns + shift
            _spin_for(node, pacer.seconds_until(last_stamp))
            if clock is not None:
                clock.publish(Clock(clock=time_message(last_stamp)))
            publisher.publish(frame, time.time_ns() if values["stamps"] == "now" else last_stamp)
            count += 1
        for line in () if count > len(source) else source.losses:  # once, also with `loop`
            node.get_logger().warning(f"lost in the recording: {line}")
    return count


class _Reader:
    """The statistics of the panoptic_node that reads the frames."""

    def __init__(self, node, topic):
        self._node, self._topic, self._stats = node, topic, InferenceStats()
        node.create_subscription(InferenceStats, topic, self._keep, STATS_DEPTH)

    def _keep(self, stats):
        self._stats = stats

    def _finished(self, count):
        stats = self._stats
        return count <= stats.received == stats.processed + stats.dropped + stats.failed

    def wait(self, count):
        """Wait until it has finished with `count` frames, and log what became of them."""
        end = time.monotonic() + FINISH_S
        while not self._finished(count) and self._node.count_publishers(self._topic) and time.monotonic() < end:
            _spin_for(self._node, 0.1)
        stats, logger = self._stats, self._node.get_logger()
        fate = f"received {stats.received}, processed {stats.processed}, dropped {stats.dropped}, failed {stats.failed}"
        if self._finished(count):
            logger.info(f"{self._topic}: {fate}")
        else:
            logger.warning(f"{self._topic} does not tell what became of all {count} frames: {fate}")


def _wait_for_subscriber(node, publisher):
    while publisher.subscription_count == 0:
        _spin_for(node, 0.1)
    _spin_for(node, SETTLE_S)


def _spin_for(node, seconds):
    """Serve the node (parameters, shutdown) for some time."""
    end = time.monotonic() + seconds
    while True:
        rclpy.spin_once(node, timeout_sec=max(0.0, end - time.monotonic()))
        if time.monotonic() >= end:
            return


def main():
    """Console script `source_node`; exit status 2 on bad input."""
    node = None
    try:
        open_ros()
        node = rclpy.create_node("source")
        values = declare_parameters(node)
        reader = _Reader(node, values["stats"]) if values["stats"] else None
        count = play(node, values)
        node.get_logger().info(f"{count} frames published")
        if reader is not None:
            reader.wait(count)
        time.sleep(0.5)  # a destroyed reliable publisher cannot resend its last frame
        return 0
    except InputError as error:
        print(f"source_node: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    finally:
        ignore_stop_signals()
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
