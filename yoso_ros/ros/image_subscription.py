# SPDX-License-Identifier: Apache-2.0
"""The subscription of a camera's images: as reliable as their publishers, with a count of lost images."""

import functools

from rclpy.qos import QoSProfile, ReliabilityPolicy

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

AUTO = "auto"
# The node always works on the newest image. When the queue is full, an image replaces the oldest one without being
# counted: with a depth of 5, two of 400 at 100 Hz were missed with ten busy processes per core.
QUEUE = 20


def reliability_policy(name):
    """rclpy's policy of "best_effort" or "reliable"; best effort for "auto", because it matches every publisher."""
    return ReliabilityPolicy.RELIABLE if name == "reliable" else ReliabilityPolicy.BEST_EFFORT


def create_subscription(node, kind, topic, callback, qos, **events):
    """Create a subscription with callbacks for its events, as far as the middleware has them (Zenoh lacks some).

    Args:
        node: rclpy node.
        kind, topic, callback, qos: as rclpy's.
        events: callbacks by name, as of rclpy's SubscriptionEventCallbacks.
    """
    for names in (list(events), *([name] for name in events)):
        callbacks = SubscriptionEventCallbacks(**{name: events[name] for name in names})
        try:
            return node.create_subscription(kind, topic, callback, qos, event_callbacks=callbacks)
        except UnsupportedEventTypeError:
            continue
    return node.create_subscription(kind, topic, callback, qos)


class ImageSubscription:
    """Subscription of one topic of images between `begin` and `end`.

    With reliability "auto" it is reliable while all publishers of the topic are, else best effort. On a change a
    second subscription is created, and the first one serves until the second has its first image, so that no image is
    lost or duplicated.

    Args:
        node: rclpy node with `yoso_ros.ros.caught.GuardedCallbacks`.
        kind: message type.
        topic: resolved.
        reliability: "best_effort", "reliable" or "auto".
        deliver: called with each message.
        on_mismatch: called with the event of an incompatible publisher.
    """

    def __init__(self, node, kind, topic, reliability, deliver, on_mismatch):
        self._node, self._kind, self._topic = node, kind, topic
        self._choice, self._deliver, self._on_mismatch = reliability, deliver, on_mismatch
        self._subscriptions = {}  # policy to subscription, the one to keep last
        self._policy = reliability_policy(reliability)
        self._last_stamp = None  # of the previous image, while there are two subscriptions
        self.lost = 0
        self.last_publishers = ()  # rclpy's TopicEndpointInfo of the last known publishers

    @property
    def qos(self):
        """QoS of the subscription to keep."""
        return QoSProfile(depth=QUEUE, reliability=self._policy)

    @property
    def reliable(self):
        """Whether the subscription to keep is reliable."""
        return self._policy == ReliabilityPolicy.RELIABLE

    def begin(self):
        """Start listening."""
        policy = self._publishers_policy()
        if self._choice == AUTO and policy is not None:
            self._policy = policy
        self._listen()

    def end(self):
        """Stop listening."""
        subscriptions, self._subscriptions = self._subscriptions, {}
        for subscription in subscriptions.values():
            self._node.destroy_subscription(subscription)

    def follow(self):
        """Inspect the publishers, and follow their reliability if configured."""
        if not self._subscriptions:
            return
        policy = self._publishers_policy()
        if self._choice == AUTO and len(self._subscriptions) == 1 and policy not in (None, self._policy):
            self._policy, self._last_stamp = policy, None
            self._node.get_logger().debug(
                f"reading {self._topic} with the reliability of its publishers: {policy.name}"
            )
            self._listen()

    def _publishers_policy(self):
        """Reliability that all publishers offer; None without publishers."""
        publishers = self._node.get_publishers_info_by_topic(self._topic)
        offered = {publisher.qos_profile.reliability for publisher in publishers}
        if not offered:
            return None
        self.last_publishers = publishers
        return ReliabilityPolicy.RELIABLE if offered == {ReliabilityPolicy.RELIABLE} else ReliabilityPolicy.BEST_EFFORT

    def _listen(self):
        policy = self._policy
        guard = self._node.caught.guard
        self._subscriptions[policy] = create_subscription(
            self._node,
            self._kind,
            self._topic,
            functools.partial(self._on_image, policy),
            self.qos,
            incompatible_qos=guard(self._on_mismatch, f"event of {self._topic}"),
            message_lost=guard(functools.partial(self._on_lost, policy), f"event of {self._topic}"),
        )

    def _on_image(self, policy, message):
        # An event may still be waiting in the executor when an earlier one has ended the subscription.
        if policy not in self._subscriptions:
            return
        if len(self._subscriptions) > 1:
            stamp = message.header.stamp
            is_known = self._last_stamp == stamp
            self._last_stamp = stamp
            if policy == self._policy:
                before = next(iter(self._subscriptions))
                self._node.destroy_subscription(self._subscriptions.pop(before))
                if is_known:
                    return
        self._deliver(message)

    def _on_lost(self, policy, event):
        if policy == next(iter(self._subscriptions), None):
            self.lost += event.total_count_change
