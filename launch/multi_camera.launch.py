# SPDX-License-Identifier: Apache-2.0
"""Panoptic segmentation of several cameras in one node, which passes their newest frames to the network together."""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

SHARE = FindPackageShare("yoso_ros")

ARGUMENTS = [
    DeclareLaunchArgument(
        "cameras",
        default_value="front,rear",
        description="Names of the cameras with commas between; outputs are <namespace>/yoso/<camera>/...",
    ),
    DeclareLaunchArgument(
        "input_image_topic",
        default_value="/{camera}/image_raw",
        description="Image topic of each camera; {camera} stands for its name.",
    ),
    DeclareLaunchArgument(
        "camera_info_topic",
        default_value="/{camera}/camera_info",
        description="Calibration that belongs to the images; {camera} stands for the camera's name.",
    ),
    DeclareLaunchArgument(
        "source",
        default_value="topic",
        choices=["topic", "video", "synthetic"],
        description="Where images come from: topics that exist, or for a try-out one video, image folder or recording, "
        "or the scene that the package renders itself, for every camera.",
    ),
    DeclareLaunchArgument(
        "source_path", default_value="", description="With source:=video: the video file, image folder or recording."
    ),
    DeclareLaunchArgument(
        "source_rate_hz", default_value="10.0", description="With source:=video or synthetic: frames per second."
    ),
    DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node."),
    DeclareLaunchArgument(
        "params_file",
        default_value=PathJoinSubstitution([SHARE, "config", "node.yaml"]),
        description="Parameter file of the node.",
    ),
    DeclareLaunchArgument(
        "model", default_value="", description="Model configuration, name or YAML file; empty for that of params_file."
    ),
    DeclareLaunchArgument("weights", default_value="", description="Weights file; empty for that of params_file."),
    DeclareLaunchArgument(
        "device", default_value="", description="auto, cpu, cuda or cuda:N; empty for that of params_file."
    ),
    DeclareLaunchArgument(
        "engine",
        default_value="",
        description="auto, torch, openvino, onnxruntime or tensorrt; empty for that of params_file.",
    ),
    DeclareLaunchArgument("use_rviz", default_value="false", choices=["true", "false"], description="Start RViz."),
    DeclareLaunchArgument(
        "log_level",
        default_value="info",
        choices=["debug", "info", "warn", "error", "fatal"],
        description="Least severe messages that are logged.",
    ),
]


def _cameras(context):
    names = [name.strip() for name in LaunchConfiguration("cameras").perform(context).split(",") if name.strip()]
    if not names:
        raise RuntimeError("cameras: expected names with commas between, such as front,rear")
    return names


def _topics(context, camera):
    """Image and calibration topic of a camera."""
    names = ("input_image_topic", "camera_info_topic")
    return [LaunchConfiguration(name).perform(context).replace("{camera}", camera) for name in names]


def _panoptic_node(context):
    """One node for all cameras; arguments that are left empty do not override the parameter file."""
    names = ("model", "weights", "device", "engine")
    values = {name: LaunchConfiguration(name).perform(context) for name in names}
    values = {name: value for name, value in values.items() if value} | {"cameras": _cameras(context)}
    remappings = []
    for camera in _cameras(context):
        image, info = _topics(context, camera)
        remappings += [(f"{camera}/image_raw", image), (f"{camera}/camera_info", info)]
    return [
        Node(
            package="yoso_ros",
            executable="panoptic_node",
            name="yoso",
            namespace=LaunchConfiguration("namespace"),
            parameters=[LaunchConfiguration("params_file"), values],
            remappings=remappings,
            arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
            output="screen",
        )
    ]


def _sources(context):
    """A source node for each camera, unless the topics exist."""
    source = LaunchConfiguration("source").perform(context)
    if source == "topic":
        return []
    path = LaunchConfiguration("source_path").perform(context)
    if source == "video" and not path:
        raise RuntimeError("source:=video needs source_path:=<video file, image folder or recording>")
    rate_hz = float(LaunchConfiguration("source_rate_hz").perform(context))
    nodes = []
    for camera in _cameras(context):
        image, info = _topics(context, camera)
        nodes.append(
            Node(
                package="yoso_ros",
                executable="source_node",
                name=f"{camera.replace('/', '_')}_camera",
                parameters=[{"source": path or "synthetic", "rate_hz": rate_hz, "loop": True}],
                remappings=[("image_raw", image), ("camera_info", info)],
                output="screen",
            )
        )
    return nodes


def generate_launch_description():
    """The arguments, the image sources, the node, and RViz when asked for."""
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", PathJoinSubstitution([SHARE, "config", "rviz", "yoso.rviz"])],
        condition=IfCondition(LaunchConfiguration("use_rviz")),
    )
    return LaunchDescription(
        [*ARGUMENTS, OpaqueFunction(function=_sources), OpaqueFunction(function=_panoptic_node), rviz]
    )
