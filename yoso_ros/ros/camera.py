# SPDX-License-Identifier: Apache-2.0
"""One camera of the node: its input topics, its outputs, and its share of the statistics and of the health report."""

from rclpy.qos import QoSProfile
from std_msgs.msg import Header

from yoso_ros.msg import InferenceStats
from yoso_ros.node_process import dds_profile_variable
from yoso_ros.ros.diagnostics import SILENCE, HealthReport
from yoso_ros.ros.inputs import CameraInput
from yoso_ros.ros.messages import stats_message
from yoso_ros.ros.outputs import CameraOutputs
from yoso_ros.ros.stamps import StampCheck
from yoso_ros.stamps import message_stamp_ns, stamp_ns
from yoso_ros.tracking import SegmentTracker

STATS_QOS = QoSProfile(depth=10)
LOST = "images are lost on the way"
DDS_ADVICE = (
    f"start the camera with {dds_profile_variable()} set to config/dds/large_images.xml of this package, or with a "
    "reliable publisher"
)


class FrameLog:
    """Publishes the counts of frames, with the times of the last processed one.

    Args:
        publisher: of yoso_ros/InferenceStats.
    """

    def __init__(self, publisher):
        self._publisher = publisher
        self._header, self._times = Header(), {}

    def report(self, header, times, counts, backend):
        """Publish after a frame; `times` is its dict of milliseconds, or None if it failed."""
        if times is not None:
            self._header, self._times = header, times
        self._publisher.publish(stats_message(self._header, counts, self._times, backend))


class Camera:
    """One camera, from the node's configuration to its clean-up.

    All topics of a named camera are below its name, including `~/<name>/stats`; a camera without a name has no stats
    of its own, because `~/stats` covers all cameras together.

    Args:
        node: rclpy node.
        name: its name, or "" for the only camera of a node.
        settings: `Settings` of the node.
        label_set: `LabelSet` of the model.
        deliver: called with (image message, name of the camera) for each image.
        counts: `Counts` of this camera so far.
        threshold: function without arguments that returns the score threshold in use.
        lost: images of this camera that the middleware has lost so far.
    """

    def __init__(self, node, name, settings, label_set, deliver, counts, threshold, lost=0):
        self.name, self._node, self._deliver = name, node, deliver
        prefix = f"{name}/" if name else ""
        self.outputs = CameraOutputs(node, prefix)
        self.outputs.set_label_set(label_set, settings.label_info_period_s, threshold)
        how = settings.image_transport, settings.input_reliability
        self.input = CameraInput(node, prefix, *how, self._on_image, settings.max_image_pixels, lost)
        self.health = HealthReport(f"{node.get_name()}: {name or 'segmentation'}", counts)
        self._stats = node.create_publisher(InferenceStats, f"~/{prefix}stats", STATS_QOS) if name else None
        self._log = FrameLog(self._stats) if name else None
        self._tracker = SegmentTracker()
        self._stamps = StampCheck(self.input.topic)
        self._clock = node.get_clock()
        self._lost_before = lost  # lost images in the last report

    def listen(self):
        """Start reading images; does nothing if already started."""
        if not self.input.subscribed:
            self.health.images_expected()
            self.input.subscribe()

    def _on_image(self, message):
        self.health.frame_arrived()
        self._deliver(message, self.name)
        stamp = message_stamp_ns(message)
        now = self._clock.now().nanoseconds
        for kind, text in self._stamps.faults(stamp, now, self._clock.ros_time_is_active).items():
            self._warn(text, kind)

    def _tell_losses(self):
        new, self._lost_before = self.input.lost - self._lost_before, self.input.lost
        if new > 0:
            way = "the network between" if self.input.reliable else DDS_ADVICE
            text = f"{new} images of {self.input.topic} lost between publisher and node, {self.input.lost} in total"
            self._warn(f"{text}: {way}", LOST)

    def _warn(self, text, kind, tell=True):
        line = self.health.warning(text, kind, tell)
        if line is not None:
            self._node.get_logger().warning(f"{line} (reported once; see /diagnostics)")

    def decode(self, message):
        """uint8 (H, W, 3) RGB of an image message. Raises InputError if the image cannot be used."""
        return self.input.decode(message)

    def publish(self, frame, result, header, settings):
        """Publish one frame's results, with track ids if wanted; see `CameraOutputs.publish`."""
        if settings.tracking:
            result = self._tracker.update(result, stamp_ns(header.stamp))
        self.outputs.publish(frame, result, header, self.input.camera_info(header), settings)

    def report(self, header, times, counts, backend):
        """Publish the statistics of this camera, if it has a name; `times` as in `FrameLog.report`."""
        if times is not None:
            self.health.frame_processed(times)
        if self._log is not None:
            self._log.report(header, times, counts, backend)

    def status(self, *values):
        """diagnostic_msgs/DiagnosticStatus since the last call; arguments as in `HealthReport.status`."""
        if self.input.subscribed:
            silent = self.health.silent
            faults = self.input.faults(silent)
            for fault in faults:
                self._warn(*fault)
            self._tell_losses()
            if silent and not faults:
                self._warn(f"no images arrive on {self.input.topic} although it has a publisher", SILENCE)
        return self.health.status(*values, lost=self.input.lost)

    def destroy(self):
        """Destroy the subscriptions and publishers."""
        self.input.unsubscribe()
        self.outputs.destroy()
        if self._stats is not None:
            self._node.destroy_publisher(self._stats)
