# SPDX-License-Identifier: Apache-2.0
"""The input topics of one camera: image_raw or image_raw/compressed, and the camera_info beside it."""

import copy
import functools
from collections import OrderedDict

from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from yoso_ros.images.decoding import decode_compressed
from yoso_ros.ros.bridge import decode_any_image
from yoso_ros.ros.diagnostics import ABSENCE
from yoso_ros.ros.image_subscription import ImageSubscription, create_subscription, reliability_policy

UNKNOWN_NAME = "_"  # prefix of rmw's name for an unknown node; real node names cannot start with it
UNNAMED_REPORTS = 5  # number of reports to wait for a publisher's name; a publisher outside ROS never has one
KEPT_CAMERA_INFOS = 8  # enough for frames still in progress when newer infos arrive


def image_topic(node, base, transport):
    """Resolved image topic: like image_transport, `<base>/compressed` follows a remapping of `<base>`."""
    if transport == "raw":
        return node.resolve_topic_name(base)
    own = f"{base}/compressed"
    remapped = node.resolve_topic_name(own)
    return f"{node.resolve_topic_name(base)}/compressed" if remapped == _unremapped(node, own) else remapped


def camera_info_topic(node, base):
    """Resolved camera_info topic: next to the resolved image topic `base`, unless it is remapped itself."""
    own = "camera_info".join(base.rsplit("image_raw", 1))
    remapped = node.resolve_topic_name(own)
    if remapped != _unremapped(node, own):
        return remapped
    return node.resolve_topic_name(base).rsplit("/", 1)[0] + "/camera_info"


def _unremapped(node, topic):
    return node.resolve_topic_name(topic, only_expand=True)


def node_name(publisher):
    """Full name of the node of an rclpy TopicEndpointInfo, None if DDS does not know it."""
    if publisher.node_name.startswith(UNKNOWN_NAME):
        return None
    return f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}"


class CameraInput:
    """Subscriptions of one camera, which exist between `subscribe` and `unsubscribe`.

    Args:
        node: rclpy node.
        prefix: "" or the camera's name followed by a slash.
        transport: "raw" or "compressed".
        reliability: "best_effort", "reliable", or "auto" for that of the publishers.
        deliver: called with each image message.
        max_pixels: of an image; larger ones are refused.
        lost: number of images lost before; counting continues from it.
    """

    def __init__(self, node, prefix, transport, reliability, deliver, max_pixels=None, lost=0):
        self._node, self._lost_before = node, lost
        base = f"{prefix}image_raw"
        self.topic = image_topic(node, base, transport)
        self.info_topic = camera_info_topic(node, base)
        kinds = {"raw": (Image, decode_any_image), "compressed": (CompressedImage, decode_compressed)}
        self._type, decode = kinds[transport]
        self.decode = functools.partial(decode, max_pixels=max_pixels)
        self._images = ImageSubscription(node, self._type, self.topic, reliability, deliver, self._on_mismatch)
        # Best effort matches every publisher, and a camera_info is small.
        self._info_qos = QoSProfile(depth=1, reliability=reliability_policy(reliability))
        self._info_subscription = None
        self._mismatch = False  # a publisher with incompatible QoS was seen
        self._unnamed = 0  # number of reports in which a publisher's name was not known yet
        self._infos = OrderedDict()

    def subscribe(self):
        """Start listening; does nothing if already started."""
        if self.subscribed:
            return
        self._info_subscription = create_subscription(
            self._node, CameraInfo, self.info_topic, self._keep_info, self._info_qos, incompatible_qos=self._on_mismatch
        )
        self._images.begin()

    @property
    def subscribed(self):
        """Whether it is listening."""
        return self._info_subscription is not None

    @property
    def lost(self):
        """Number of images lost between publisher and node so far, as counted by the middleware."""
        return self._lost_before + self._images.lost

    @property
    def reliable(self):
        """Whether the images are read reliably."""
        return self._images.reliable

    def follow(self):
        """Inspect the publishers and follow their reliability if configured; to be called periodically."""
        self._images.follow()

    def unsubscribe(self):
        """Stop listening, so that a disabled node costs nothing."""
        self._images.end()
        subscription, self._info_subscription = self._info_subscription, None
        if subscription is not None:
            self._node.destroy_subscription(subscription)

    def _on_mismatch(self, event):
        self._mismatch = True

    def faults(self, silent):
        """Why images or their camera_info do not arrive; looked up only if there is a reason to.

        Args:
            silent: True if no image arrives.

        Returns:
            list of (text, kind, certain): a line for each publisher that cannot be received, or a line that there
            is none; an identifier of the cause; False while DDS does not know the publisher's name yet, which arrives a
            little later than the publisher itself.
        """
        if not (silent or self._mismatch):
            return []
        kinds = {self.topic: (self._type, self._images.qos), self.info_topic: (CameraInfo, self._info_qos)}
        publishers = {topic: self._node.get_publishers_info_by_topic(topic) for topic in kinds}
        unheard = [fault for topic, kind in kinds.items() for fault in self._unheard(topic, *kind, publishers[topic])]
        self._mismatch = bool(unheard)
        named = all(name is not None for name, _ in unheard)
        self._unnamed = 0 if named else self._unnamed + 1
        certain = named or self._unnamed > UNNAMED_REPORTS
        texts = [f"{name or 'a publisher without a name'} {text}" for name, text in unheard]
        faults = [(text, text, certain) for text in texts]
        if silent and not publishers[self.topic]:
            before = ", ".join(sorted(filter(None, map(node_name, self._images.last_publishers))))
            text = f"nobody publishes {self.topic}" + (f" any more, {before} is gone" if before else "")
            faults.append((text, ABSENCE, True))
        return faults

    def _unheard(self, topic, kind, qos, publishers):
        expected = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
        for publisher in publishers:
            name = node_name(publisher)
            compatible, reason = qos_check_compatible(publisher.qos_profile, qos)
            if publisher.topic_type != expected:
                yield name, f"publishes {topic} as {publisher.topic_type}; expected {expected}"
            elif compatible == QoSCompatibility.ERROR:
                reason = reason.removeprefix("ERROR: ").rstrip("; ")
                yield name, f"publishes {topic} with an incompatible QoS ({reason}); see input_reliability"

    def _keep_info(self, info):
        self._infos[_stamp(info.header)] = info
        while len(self._infos) > KEPT_CAMERA_INFOS:
            self._infos.popitem(last=False)

    def camera_info(self, header):
        """The camera_info of the frame with this header, else the latest one with this header, else None."""
        infos = list(self._infos.values())  # a copy, because the executor adds entries while the worker reads
        if not infos:
            return None
        info = next((i for i in infos if i.header.stamp == header.stamp), infos[-1])
        if info.header != header:
            info = copy.copy(info)
            info.header = header
        return info


def _stamp(header):
    return header.stamp.sec, header.stamp.nanosec
