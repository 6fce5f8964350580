# SPDX-License-Identifier: Apache-2.0
"""Panoptic segmentation of one camera: an existing topic, a USB camera, a video, or the rendered scene."""

from launch.actions import OpaqueFunction
from launch_ros.actions import Node

from launch import LaunchDescription
from yoso_ros.ros.launch_arguments import (
    NODE_ARGUMENTS,
    SOURCE_ARGUMENTS,
    declare,
    node_name,
    parameter_arguments,
    topic,
    truth,
    value,
)
from yoso_ros.ros.launch_parts import dds_profile, image_source, panoptic_node, revival, rviz

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
    "organized_points": ("false", "With input_depth_topic, true: one point for each pixel, as Nav2's layer expects."),
    "video_device": ("/dev/video0", "With source:=usb: the device of the camera."),
}


def _nodes(context):
    names = {"image_raw": "input_image_topic", "camera_info": "camera_info_topic"}
    topics = [(own, topic(context, value(context, name))) for own, name in names.items()]
    return [
        *rviz(context),
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
            parameters=[
                {
                    "use_sim_time": truth(context, "use_sim_time"),
                    "organized": truth(context, "organized_points"),
                }
            ],
            remappings=[("depth/image_raw", topic(context, depth))],
            output="screen",
            **revival(context),
        )
    ]


def generate_launch_description():
    """The arguments, the image source, the node, and RViz when asked for."""
    arguments = declare(ARGUMENTS | NODE_ARGUMENTS | SOURCE_ARGUMENTS | parameter_arguments(without=["cameras"]))
    return LaunchDescription([*arguments, dds_profile(), OpaqueFunction(function=_nodes)])
