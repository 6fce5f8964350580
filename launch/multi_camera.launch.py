# SPDX-License-Identifier: Apache-2.0
"""Panoptic segmentation of several cameras in one node, which passes their newest frames to the network together."""

from launch.actions import OpaqueFunction

from launch import LaunchDescription
from yoso_ros.ros.launch_arguments import (
    NODE_ARGUMENTS,
    SOURCE_ARGUMENTS,
    declare,
    parameter_arguments,
    topic,
    value,
)
from yoso_ros.ros.launch_parts import dds_profile, image_source, panoptic_node, rviz

ARGUMENTS = {
    "cameras": (
        "front,rear",
        "Names of the cameras with commas between; outputs are <namespace>/yoso/<camera>/...",
    ),
    "input_image_topic": ("/{camera}/image_raw", "Image topic of each camera; {camera} stands for its name."),
    "camera_info_topic": (
        "/{camera}/camera_info",
        "Calibration that belongs to the images; {camera} stands for the camera's name.",
    ),
    "source": (
        "topic",
        "Where images come from: topics that exist, or for a try-out one video, image folder or recording, or the "
        "scene that the package renders itself, for every camera.",
        ["topic", "video", "synthetic"],
    ),
}


def _cameras(context):
    names = [name.strip() for name in value(context, "cameras").split(",") if name.strip()]
    if not names:
        raise RuntimeError("cameras: expected names with commas between, such as front,rear")
    return names


def _topics(context, camera, prefix=""):
    """Remappings of image and calibration of a camera."""
    names = {"image_raw": "input_image_topic", "camera_info": "camera_info_topic"}
    return [
        (prefix + own, topic(context, value(context, name).replace("{camera}", camera))) for own, name in names.items()
    ]


def _nodes(context):
    cameras = _cameras(context)
    sources = [
        source
        for camera in cameras
        for source in image_source(context, f"{camera.replace('/', '_')}_camera", _topics(context, camera))
    ]
    remappings = [pair for camera in cameras for pair in _topics(context, camera, f"{camera}/")]
    return [*rviz(context, cameras), *sources, panoptic_node(context, remappings, {"cameras": cameras})]


def generate_launch_description():
    """The arguments, the image sources, the node, and RViz when asked for."""
    arguments = declare(ARGUMENTS | NODE_ARGUMENTS | SOURCE_ARGUMENTS | parameter_arguments(without=ARGUMENTS))
    return LaunchDescription([*arguments, dds_profile(), OpaqueFunction(function=_nodes)])
