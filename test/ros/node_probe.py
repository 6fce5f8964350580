# SPDX-License-Identifier: Apache-2.0
"""The other side of the node in tests: publishes images, keeps what the node answers by stamp, calls its services."""

import array
import time

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from patience import PATIENCE_S
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image

from yoso_ros.msg import InferenceStats, PanopticSegmentArray

FRAME_ID = "odd_frame/optical"
QOS = QoSProfile(depth=20)


class Probe:
    """Publishes on /cam and listens to /yoso.

    Args:
        topics: names below /yoso with the type of the messages; `received[name]` maps stamp seconds to the message.
        defaults: also listen to the topics that are always published.
    """

    def __init__(self, topics=None, image_type=Image, image_topic="/cam/image_raw", defaults=True):
        rclpy.init()
        self.node = rclpy.create_node("probe")
        self.images = self.node.create_publisher(image_type, image_topic, QOS)
        self.infos = self.node.create_publisher(CameraInfo, "/cam/camera_info", QOS)
        self.received, self.stats, self.diagnostics = {}, [], []
        self.node.create_subscription(InferenceStats, "/yoso/stats", self.stats.append, QOS)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self.diagnostics.append, QOS)
        always = {
            "panoptic/image_raw": Image,
            "panoptic/segments": PanopticSegmentArray,
            "semantic/image_raw": Image,
        }
        for name, message_type in {**(always if defaults else {}), **(topics or {})}.items():
            self.received[name] = {}
            self.node.create_subscription(message_type, f"/yoso/{name}", self._keeper(name), QOS)

    def _keeper(self, name):
        return lambda message: self.received[name].__setitem__(message.header.stamp.sec, message)

    def close(self):
        self.node.destroy_node()
        rclpy.shutdown()

    def until(self, condition, what, timeout_s=PATIENCE_S):
        """Spin until the condition holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"within {timeout_s} s: {what}"
            rclpy.spin_once(self.node, timeout_sec=0.05)

    def spin(self, seconds):
        """Spin for some time, to see that something does not happen."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            rclpy.spin_once(self.node, timeout_sec=0.02)

    def connect(self):
        """Wait until the node reads the images and all topics are matched."""

        def matched():
            names = [f"/yoso/{name}" for name in (*self.received, "stats")]
            return (
                self.images.get_subscription_count() > 0
                and self.infos.get_subscription_count() > 0
                and all(self.node.count_publishers(name) > 0 for name in names)
            )

        self.until(matched, "the node reads images and offers its topics", PATIENCE_S)
        self.be_known()

    def be_known(self):
        """Wait until the node knows all subscriptions of this process; it learns of them in the order of creation."""
        seen = []
        newest = self.node.create_subscription(DiagnosticArray, "/diagnostics", seen.append, QOS)
        self.until(lambda: seen, "a message to the newest subscription")
        self.node.destroy_subscription(newest)

    def message(self, pixels, second, encoding="rgb8", **changes):
        """Image message of an array; keyword arguments replace fields afterwards."""
        pixels = np.ascontiguousarray(pixels)
        message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=pixels.strides[0])
        self.stamp(message, second)
        message.data = array.array("B", pixels.tobytes())
        for name, value in changes.items():
            setattr(message, name, value)
        return message

    def stamp(self, message, second):
        """Give a message the header that `received` is sorted by."""
        message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id = second, 7, FRAME_ID
        return message

    def answers(self, second, names=None):
        """All answers to the frame of this second, by topic name."""
        names = names or list(self.received)
        self.until(lambda: all(second in self.received[n] for n in names), f"answers {names} to frame {second}")
        return {name: self.received[name][second] for name in names}

    def call(self, service_type, name, request):
        """Response of a service of the node."""
        client = self.node.create_client(service_type, f"/yoso/{name}")
        assert client.wait_for_service(PATIENCE_S), name
        future = client.call_async(request)
        self.until(future.done, f"a response of {name}")
        self.node.destroy_client(client)
        return future.result()

    def set_parameter(self, name, value):
        """rcl_interfaces/SetParametersResult of setting one parameter of the node."""
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        return self.call(SetParameters, "set_parameters", request).results[0]

    def parameter(self, name):
        """Value of one parameter of the node."""
        from rcl_interfaces.srv import GetParameters
        from rclpy.parameter import parameter_value_to_python

        return parameter_value_to_python(
            self.call(GetParameters, "get_parameters", GetParameters.Request(names=[name])).values[0]
        )


def pixels_of(message):
    """Array of an Image that the node published."""
    dtype, channels = {"mono16": (np.uint16, 1), "mono8": (np.uint8, 1), "rgb8": (np.uint8, 3)}[message.encoding]
    assert message.step == message.width * channels * np.dtype(dtype).itemsize and not message.is_bigendian
    pixels = np.frombuffer(message.data, dtype)
    return pixels.reshape((message.height, message.width) + ((channels,) if channels > 1 else ()))
