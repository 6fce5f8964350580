# SPDX-License-Identifier: Apache-2.0
"""The output topics of one camera: some always published, others created only while somebody listens."""

from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from yoso_ros.images.overlay import build_palette, color_image, overlay_image
from yoso_ros.msg import PanopticSegmentArray
from yoso_ros.ros.messages import image_message, instance_image, mask_of_classes, runs_message, segments_message
from yoso_ros.ros.vision import VisionOutputs, vision_messages_installed

# Reliable reaches every subscriber; a best-effort publisher is invisible to reliable subscribers such as RViz. The
# profile of rclpy is reliable and volatile.
OUTPUT_QOS = QoSProfile(depth=1)


class CameraOutputs:
    """Publishers of one camera.

    Args:
        node: rclpy node.
        prefix: "" or the camera's name followed by a slash.
    """

    def __init__(self, node, prefix):
        def publisher(message_type, name):
            topic = f"~/{prefix}{name}"
            options = QoSOverridingOptions.with_default_policies()
            return node.create_publisher(message_type, topic, OUTPUT_QOS, qos_overriding_options=options)

        self._node = node
        self._panoptic = publisher(Image, "panoptic/image_raw")
        self._segments = publisher(PanopticSegmentArray, "panoptic/segments")
        self._semantic = publisher(Image, "semantic/image_raw")
        self._camera_infos = [publisher(CameraInfo, f"{name}/camera_info") for name in ("panoptic", "semantic")]
        self._confidence = publisher(Image, "confidence/image_raw")
        self._overlay = publisher(Image, "overlay/image_raw")
        self._color = publisher(Image, "color/image_raw")
        self._mask = publisher(Image, "mask/image_raw")
        self._instance = publisher(Image, "instance/image_raw")
        self._runs = publisher(CompressedImage, "panoptic/runs")
        self._vision = VisionOutputs(node, prefix) if vision_messages_installed() else None
        self._palette = None
        self._class_ids = {}

    def set_label_set(self, label_set, label_info_period_s, threshold):
        """Use the classes of a model: colours, and the label info, published now and then periodically.

        Args:
            label_set: `LabelSet`. label_info_period_s: seconds.
            threshold: function without arguments that returns the score threshold in use.
        """
        self._palette = build_palette(label_set)
        self._class_ids = {label.name: i for i, label in enumerate(label_set.classes)}
        if self._vision is not None:
            self._vision.announce(label_set, label_info_period_s, threshold)

    def follow_threshold(self):
        """Publish a new threshold."""
        if self._vision is not None:
            self._vision.follow_threshold()

    def publish(self, frame, result, header, camera_info, settings):
        """Publish one frame's results, the label images first.

        Args:
            frame: uint8 (H, W, 3) RGB.
            result: `PanopticResult` of the frame.
            header: std_msgs/Header of the frame, which every message carries.
            camera_info: sensor_msgs/CameraInfo with the same header, or None.
            settings: `Settings`.
        """
        self._panoptic.publish(image_message(result.panoptic, header))
        self._segments.publish(segments_message(result, header))
        self._semantic.publish(image_message(result.semantic, header))
        if camera_info is not None:
            for publisher in self._camera_infos:
                publisher.publish(camera_info)
        if _wanted(self._confidence):
            self._confidence.publish(image_message(result.confidence, header))
        if _wanted(self._overlay):
            picture = overlay_image(frame, result.panoptic, self._palette, settings.overlay_alpha, result.segments)
            self._overlay.publish(image_message(picture, header))
        if _wanted(self._color):
            self._color.publish(image_message(color_image(result.panoptic, self._palette), header))
        if _wanted(self._mask):
            chosen = [self._class_ids[name] for name in settings.mask_classes]
            self._mask.publish(image_message(mask_of_classes(result.semantic, chosen), header))
        if _wanted(self._instance):
            self._instance.publish(image_message(instance_image(result), header))
        if _wanted(self._runs):
            self._runs.publish(runs_message(result.panoptic, header))
        if self._vision is not None:
            self._vision.publish_detections(result, header)

    def destroy(self):
        """Destroy the publishers."""
        publishers = [self._panoptic, self._segments, self._semantic, *self._camera_infos]
        on_demand = (self._confidence, self._overlay, self._color, self._mask, self._instance, self._runs)
        for publisher in (*publishers, *on_demand):
            self._node.destroy_publisher(publisher)
        if self._vision is not None:
            self._vision.destroy()


def _wanted(publisher):
    return publisher.get_subscription_count() > 0
