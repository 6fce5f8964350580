# SPDX-License-Identifier: Apache-2.0
"""The point cloud node: panoptic labels for the points of an aligned depth image or of a lidar."""

import sys

import numpy as np
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from yoso_ros.errors import InputError
from yoso_ros.geometry.depth import decode_depth
from yoso_ros.geometry.point_cloud import cloud_from_depth, cloud_from_points, rotation_matrix
from yoso_ros.images.decoding import decode_image
from yoso_ros.images.pixels import image_array
from yoso_ros.ros.calibration import Calibration
from yoso_ros.ros.caught import GuardedCallbacks
from yoso_ros.ros.causes import Causes, cause_of
from yoso_ros.ros.context import run_process, spin_until_stopped
from yoso_ros.ros.parameters import Parameter
from yoso_ros.ros.point_cloud_messages import cloud_message, read_points
from yoso_ros.ros.stamp_sync import StampSync

INPUT_DEPTH = 5  # messages of a topic that may arrive while a cloud is being computed
PARAMETERS = (
    Parameter(name="source", default="depth", choices=("depth", "lidar"), text="Source of the points."),
    Parameter(
        name="organized",
        default=False,
        text="True: a point for each pixel (NaN without depth) or each lidar point; false: known ones in view only.",
    ),
    Parameter(name="use_color", default=True, text="Colour the points from color/image_raw; false leaves them black."),
    Parameter(name="rectified", default=False, text="The images are rectified: use P of camera_info, no distortion."),
    Parameter(
        name="sync_tolerance_s",
        default=0.0,
        low=0.0,
        high=10.0,
        text="Maximum difference of stamps in seconds; 0 for equal stamps, as of aligned depth.",
    ),
    Parameter(name="queue_size", default=30, low=1, high=1000, text="Messages of each topic that wait for the others."),
)
EXTRINSIC = "camera_in_lidar"
EXTRINSIC_TEXT = (
    "Pose of the camera's optical frame in the lidar's frame, x y z qx qy qz qw, as for static_transform_publisher; "
    "without it TF is used."
)


class PointCloudNode(GuardedCallbacks, Node):
    """Publishes `~/points` while somebody listens.

    Its name is /yoso/point_cloud, so that without remapping it reads the topics of the node /yoso and the cloud is
    /yoso/points.

    Raises:
        InputError: a parameter is not allowed.
    """

    def __init__(self):
        super().__init__("point_cloud", namespace="yoso")
        settings = self._settings = self._declare()
        self._extrinsic = self._declare_extrinsic()
        self._tf_buffer = None
        self._calibration = Calibration(settings["rectified"], settings["source"] == "depth", self._on_rays)
        self._early = None  # the last set that arrived before its calibration or its rays
        self._causes = Causes()
        source_type, topic = {"depth": (Image, "depth/image_raw"), "lidar": (PointCloud2, "lidar/points")}[
            settings["source"]
        ]
        topics = {"points": (source_type, topic), "panoptic": (Image, "panoptic/image_raw")}
        if settings["use_color"]:
            topics["color"] = (Image, "color/image_raw")
        self._sync = StampSync(topics, self._on_set, settings["sync_tolerance_s"], settings["queue_size"])
        self._points = self.create_publisher(PointCloud2, "points", QoSProfile(depth=1))
        qos = QoSProfile(depth=INPUT_DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)
        for name, (message_type, topic) in topics.items():
            self.create_subscription(message_type, topic, self._adder(name), qos)
        self.create_subscription(CameraInfo, "panoptic/camera_info", self._on_info, qos)
        if settings["source"] == "lidar" and self._extrinsic is None:
            self._listen_to_tf()
        read = ", ".join(self.resolve_topic_name(topic) for _, topic in topics.values())
        self.get_logger().info(f"reading {read}; publishing {self._points.topic_name}")

    def _declare(self):
        values = {}
        for parameter in PARAMETERS:
            descriptor = ParameterDescriptor(dynamic_typing=True, read_only=True, description=parameter.text)
            descriptor.additional_constraints = parameter.allowed
            values[parameter.name] = self.declare_parameter(parameter.name, parameter.default, descriptor).value
            fault = parameter.fault(values[parameter.name])
            if fault:
                raise InputError(fault)
        return values

    def _declare_extrinsic(self):
        descriptor = ParameterDescriptor(dynamic_typing=True, read_only=True, description=EXTRINSIC_TEXT)
        value = self.declare_parameter(EXTRINSIC, None, descriptor).value
        if value is None:
            return None
        numbers = list(value) if isinstance(value, (list, tuple)) or hasattr(value, "tolist") else []
        if len(numbers) != 7 or any(isinstance(n, (str, bool)) for n in numbers):
            raise InputError(f"{EXTRINSIC}: expected 7 numbers x y z qx qy qz qw, found {value!r}")
        return rotation_matrix(*numbers[3:]), np.array(numbers[:3], np.float64)

    def _listen_to_tf(self):
        try:
            from tf2_ros import Buffer, TransformListener
        except ImportError as error:
            raise InputError(f"expected the parameter {EXTRINSIC}, or the package tf2_ros to be installed") from error
        self._tf_buffer = Buffer()
        self._tf_listener = TransformListener(self._tf_buffer, self)

    def _adder(self, name):
        return lambda message: self._sync.add(name, message)

    def _on_info(self, info):
        self._calibration.update(info)
        self._serve_early()

    def _on_rays(self):
        """Called in the thread that computed them."""
        if self.executor is not None:
            self.executor.create_task(self.caught.guard(self._serve_early, "rays"))

    def _serve_early(self):
        if self._early is not None:
            early, self._early = self._early, None
            self._on_set(early)

    def _on_set(self, messages):
        if self._calibration.info is None and self._early is None:
            self._early = messages
            return
        if self._points.get_subscription_count() == 0:
            return
        try:
            cloud = self._cloud(messages)
            if cloud is None:
                self._early = messages
                return
        except Exception as error:  # a single set of messages must not end the node
            line = self._causes.line(cause_of(error))
            if line is not None:
                self.get_logger().warning(f"no cloud of a frame (reported once): {line}")
            return
        self._points.publish(cloud_message(cloud, messages["points"].header))

    def _cloud(self, messages):
        """The cloud of a set of messages, or None while the rays of its calibration are being computed."""
        if self._calibration.info is None:
            topic = self.resolve_topic_name("panoptic/camera_info")
            raise InputError(f"expected a calibration on {topic}, found none so far")
        if messages["panoptic"].encoding != "mono16":
            raise InputError(f"expected a panoptic image in mono16, found {messages['panoptic'].encoding!r}")
        panoptic = image_array(messages["panoptic"], "u2")
        calibration = self._calibration.for_images(panoptic.shape)
        if calibration is None:
            return None
        model, rays = calibration
        rgb = decode_image(messages["color"]) if "color" in messages else None
        organized = self._settings["organized"]
        if self._settings["source"] == "depth":
            return cloud_from_depth(decode_depth(messages["points"]), rays, panoptic, rgb, organized)
        pose = self._extrinsic or self._pose_from_tf(messages)
        return cloud_from_points(read_points(messages["points"]), pose, model, panoptic, rgb, organized)

    def _pose_from_tf(self, messages):
        """Pose of the camera in the lidar's frame, assuming that the two are rigidly mounted."""
        lidar, camera = (messages[name].header.frame_id for name in ("points", "panoptic"))
        transform = self._tf_buffer.lookup_transform(lidar, camera, Time()).transform
        translation, rotation = transform.translation, transform.rotation
        return (
            rotation_matrix(rotation.x, rotation.y, rotation.z, rotation.w),
            np.array([translation.x, translation.y, translation.z]),
        )


def usage():
    """Help text of the command line."""
    lines = [
        "Labelled point cloud /yoso/points from the panoptic image and a depth image or a lidar.",
        "example: point_cloud_node --ros-args -r depth/image_raw:=/camera/camera/aligned_depth_to_color/image_raw",
        "reads panoptic/image_raw, panoptic/camera_info, color/image_raw and depth/image_raw or lidar/points in /yoso",
        "parameters:",
    ]
    for p in PARAMETERS:
        lines.append(f"  {p.name} [{p.default!r}]: {p.text}" + (f" Allowed: {p.allowed}." if p.allowed else ""))
    lines.append(f"  {EXTRINSIC} [not set]: {EXTRINSIC_TEXT}")
    return "\n".join(lines)


def main(args=None):
    """Run the node as a separate process (console script `point_cloud_node`); see `run_process`."""
    return run_process("point_cloud_node", usage, _run, args)


def _run():
    node = PointCloudNode()
    spin_until_stopped(node)
    node.destroy_node()
    return 0


if __name__ == "__main__":
    sys.exit(main())
