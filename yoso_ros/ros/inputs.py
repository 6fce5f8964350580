# SPDX-License-Identifier: Apache-2.0
"""The input topics of one camera: image_raw or image_raw/compressed, and the camera_info beside it."""

import copy
import functools
from collections import OrderedDict

from rclpy.qos import QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from yoso_ros.images.decoding import decode_compressed
from yoso_ros.ros.bridge import decode_any_image

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

KEPT_CAMERA_INFOS = 8  # enough for frames that are still in work when newer infos arrive


def image_topic(node, base, transport):
    """Resolved image topic: like image_transport, `<base>/compressed` follows a remapping of `<base>`."""
    if transport == "raw":
        return node.resolve_topic_name(base)
    own = f"{base}/compressed"
    remapped = node.resolve_topic_name(own)
    return f"{node.resolve_topic_name(base)}/compressed" if remapped == _unremapped(node, own) else remapped


def camera_info_topic(node, base):
    """Resolved camera_info topic: beside the resolved image topic `base`, unless it is remapped itself."""
    own = "camera_info".join(base.rsplit("image_raw", 1))
    remapped = node.resolve_topic_name(own)
    if remapped != _unremapped(node, own):
        return remapped
    return node.resolve_topic_name(base).rsplit("/", 1)[0] + "/camera_info"


def _unremapped(node, topic):
    return node.resolve_topic_name(topic, only_expand=True)


class CameraInput:
    """Subscriptions of one camera, which exist between `subscribe` and `unsubscribe`.

    Args:
        node: rclpy node.
        prefix: "" or the camera's name with a slash behind it.
        transport: "raw" or "compressed".
        reliability: "best_effort" or "reliable".
        deliver: called with each image message.
        max_pixels: of an image; larger ones are refused.
    """

    def __init__(self, node, prefix, transport, reliability, deliver, max_pixels=None):
        self._node, self._deliver = node, deliver
        base = f"{prefix}image_raw"
        self.topic = image_topic(node, base, transport)
        self.info_topic = camera_info_topic(node, base)
        kinds = {"raw": (Image, decode_any_image), "compressed": (CompressedImage, decode_compressed)}
        self._type, decode = kinds[transport]
        self.decode = functools.partial(decode, max_pixels=max_pixels)
        self._qos = QoSProfile(depth=1, reliability=ReliabilityPolicy[reliability.upper()])
        self._subscriptions = []
        self._mismatch = False  # a publisher was seen whose QoS does not fit
        self._infos = OrderedDict()

    def subscribe(self):
        """Begin to listen; nothing happens when it does already."""
        if self._subscriptions:
            return
        events = SubscriptionEventCallbacks(incompatible_qos=self._on_mismatch)
        for kind, topic, callback in (
            (self._type, self.topic, self._deliver),
            (CameraInfo, self.info_topic, self._keep_info),
        ):
            subscription = self._node.create_subscription(kind, topic, callback, self._qos, event_callbacks=events)
            self._subscriptions.append(subscription)

    @property
    def subscribed(self):
        """True while it listens."""
        return bool(self._subscriptions)

    def unsubscribe(self):
        """Stop listening, so that a disabled node costs nothing."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def _on_mismatch(self, event):
        self._mismatch = True

    def faults(self, silent):
        """Why images or their infos do not come; looked up only when there is a reason to.

        Args:
            silent: True when no image comes.

        Returns:
            list of str, one for each publisher that cannot be heard, or that there is none.
        """
        if not (silent or self._mismatch):
            return []
        topics = {self.topic: self._type, self.info_topic: CameraInfo}
        publishers = {topic: self._node.get_publishers_info_by_topic(topic) for topic in topics}
        faults = [text for topic, kind in topics.items() for text in self._unheard(topic, kind, publishers[topic])]
        self._mismatch = bool(faults)
        if silent and not publishers[self.topic]:
            faults.append(f"nobody publishes {self.topic}")
        return faults

    def _unheard(self, topic, kind, publishers):
        expected = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
        for publisher in publishers:
            name = f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name} publishes {topic}"
            compatible, reason = qos_check_compatible(publisher.qos_profile, self._qos)
            if publisher.topic_type != expected:
                yield f"{name} as {publisher.topic_type}; expected {expected}"
            elif compatible == QoSCompatibility.ERROR:
                reason = reason.removeprefix("ERROR: ").rstrip("; ")
                yield f"{name} with a QoS that does not fit ({reason}); see input_reliability"

    def _keep_info(self, info):
        self._infos[_stamp(info.header)] = info
        while len(self._infos) > KEPT_CAMERA_INFOS:
            self._infos.popitem(last=False)

    def camera_info(self, header):
        """The camera_info of the frame with this header, else the latest one with this header, else None."""
        infos = list(self._infos.values())  # a copy: the worker asks while the executor adds
        if not infos:
            return None
        info = next((i for i in infos if i.header.stamp == header.stamp), infos[-1])
        if info.header != header:
            info = copy.copy(info)
            info.header = header
        return info


def _stamp(header):
    return header.stamp.sec, header.stamp.nanosec
