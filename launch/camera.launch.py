# SPDX-License-Identifier: Apache-2.0
"""Panoptic segmentation of one camera: an existing topic, a USB camera, a video, or the rendered scene."""

from launch.actions import OpaqueFunction
from launch_ros.actions import Node

from launch import LaunchDescription
from yoso_ros.ros.launch_parts import (
    NODE_ARGUMENTS,
    SOURCE_ARGUMENTS,
    dds_profile,
    declare,
    image_source,
    node_name,
    panoptic_node,
    rviz,
    value,
)

ARGUMENTS = {
    "source": (
        "topic",
        "Where images come from: a topic that exists, a USB camera, a video file or image folder, or the scene that "
        "the package renders itself.",
        ["topic", "usb", "video", "synthetic"],
    ),
    "input_image_topic": ("/camera/image_raw", "Image topic to segment."),
    "camera_info_topic": ("/camera/camera_info", "Calibration that belongs to the images."),
    "input_depth_topic": (
        "",
        "Depth image aligned to the camera; if given, the labelled point cloud is <namespace>/yoso/points.",
    ),
    "video_device": ("/dev/video0", "With source:=usb: the device of the camera."),
}


def _nodes(context):
    topics = [("image_raw", value(context, "input_image_topic")), ("camera_info", value(context, "camera_info_topic"))]
    return [
        *image_source(context, "camera", topics),
        panoptic_node(context, topics),
        *_point_cloud_node(context),
    ]


def _point_cloud_node(context):
    """The node of the labelled cloud, when there is a depth image. In <namespace>/yoso it finds the labels itself."""
    depth = value(context, "input_depth_topic")
    if not depth:
        return []
    return [
        Node(
            package="yoso_ros",
            executable="point_cloud_node",
            name="point_cloud",
            namespace=node_name(context),
            remappings=[("depth/image_raw", depth)],
            output="screen",
        )
    ]


def generate_launch_description():
    """The arguments, the image source, the node, and RViz when asked for."""
    arguments = declare(ARGUMENTS | NODE_ARGUMENTS | SOURCE_ARGUMENTS)
    return LaunchDescription([*arguments, dds_profile(), rviz(), OpaqueFunction(function=_nodes)])
