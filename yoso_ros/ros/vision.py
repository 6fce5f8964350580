# SPDX-License-Identifier: Apache-2.0
"""Outputs with types of vision_msgs, on machines that have the package: label info and detections."""

import importlib.util

from rclpy.clock import Clock, ClockType
from rclpy.qos import DurabilityPolicy, QoSProfile

# Late subscribers get the last label info at once; repetitions serve recordings played from the middle.
LABEL_INFO_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def vision_messages_installed():
    """Whether vision_msgs can be imported."""
    return importlib.util.find_spec("vision_msgs") is not None


def label_info_message(label_set, stamp, threshold):
    """vision_msgs/LabelInfo: class ids and names of a `LabelSet`.

    Args:
        label_set: `LabelSet`. stamp: builtin_interfaces/Time.
        threshold: score threshold of segments.
    """
    from vision_msgs.msg import LabelInfo, VisionClass

    message = LabelInfo(threshold=float(threshold))
    message.header.stamp = stamp
    message.class_map = [VisionClass(class_id=i, class_name=c.name) for i, c in enumerate(label_set.classes)]
    return message


def detections_message(result, header):
    """vision_msgs/Detection2DArray: one detection per thing of a `PanopticResult`, box in pixels of the input image.

    The id of a detection is the track id of its segment, the same for an object over messages; empty without tracking.
    Its class id is the number in the label info.
    """
    from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

    message = Detection2DArray(header=header)
    for segment in result.segments:
        if not segment.is_thing:
            continue
        detection = Detection2D(header=header, id=str(segment.track_id or ""))
        hypothesis = ObjectHypothesisWithPose()
        hypothesis.hypothesis.class_id = str(segment.class_id)
        hypothesis.hypothesis.score = float(segment.score)
        detection.results = [hypothesis]
        x, y, width, height = segment.box_xywh
        detection.bbox.center.position.x = x + width / 2
        detection.bbox.center.position.y = y + height / 2
        detection.bbox.size_x, detection.bbox.size_y = float(width), float(height)
        message.detections.append(detection)
    return message


class VisionOutputs:
    """Publishers of one camera; created only if `vision_messages_installed()`.

    Args:
        node: rclpy node.
        prefix: "" or the camera's name followed by a slash.
    """

    def __init__(self, node, prefix):
        from vision_msgs.msg import Detection2DArray, LabelInfo

        self._node = node
        self._label_info = node.create_publisher(LabelInfo, f"~/{prefix}semantic/label_info", LABEL_INFO_QOS)
        self._detections = node.create_publisher(Detection2DArray, f"~/{prefix}detections", 1)
        self._timer = None

    def announce(self, label_set, period_s, threshold):
        """Publish the label info now and again every `period_s` seconds (0: once, and when the threshold changes).

        Args:
            label_set: `LabelSet`. period_s: seconds.
            threshold: function without arguments that returns the score threshold in use.
        """
        self._stop_timer()
        self._label_set, self._threshold = label_set, threshold

        def repeat():
            # An event of the timer may wait in the executor while an earlier transition destroys the publisher.
            if self._timer is not None:
                self._publish_label_info()

        self._publish_label_info()
        if period_s > 0:
            self._timer = self._node.create_timer(period_s, repeat, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def follow_threshold(self):
        """Publish the label info if its threshold is no longer the one in use."""
        if self._threshold() != self._told_threshold:
            self._publish_label_info()

    def _publish_label_info(self):
        self._told_threshold = self._threshold()
        stamp = self._node.get_clock().now().to_msg()
        self._label_info.publish(label_info_message(self._label_set, stamp, self._told_threshold))

    def publish_detections(self, result, header):
        """Publish the things of a frame while somebody listens."""
        if self._detections.get_subscription_count() > 0:
            self._detections.publish(detections_message(result, header))

    def destroy(self):
        """Destroy the publishers and the timer."""
        self._stop_timer()
        self._node.destroy_publisher(self._label_info)
        self._node.destroy_publisher(self._detections)

    def _stop_timer(self):
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None
