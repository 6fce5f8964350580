# SPDX-License-Identifier: Apache-2.0
"""Panoptic segmentation of one camera: an existing topic, a USB camera, a video, or the rendered scene."""

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

SHARE = FindPackageShare("yoso_ros")
SOURCES = ["topic", "usb", "video", "synthetic"]
# USB camera drivers of ROS 2, in the order of preference, with their executables.
USB_DRIVERS = (("usb_cam", "usb_cam_node_exe"), ("v4l2_camera", "v4l2_camera_node"))

ARGUMENTS = [
    DeclareLaunchArgument(
        "source",
        default_value="topic",
        choices=SOURCES,
        description="Where images come from: a topic that exists, a USB camera, a video file or image folder, "
        "or the scene that the package renders itself.",
    ),
    DeclareLaunchArgument(
        "input_image_topic", default_value="/camera/image_raw", description="Image topic to segment."
    ),
    DeclareLaunchArgument(
        "camera_info_topic", default_value="/camera/camera_info", description="Calibration that belongs to the images."
    ),
    DeclareLaunchArgument(
        "input_depth_topic",
        default_value="",
        description="Depth image aligned to the camera; if given, the labelled point cloud is <namespace>/yoso/points.",
    ),
    DeclareLaunchArgument(
        "namespace", default_value="", description="Namespace of the node; its topics are <namespace>/yoso/..."
    ),
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
    DeclareLaunchArgument(
        "source_path", default_value="", description="With source:=video: the video file, image folder or recording."
    ),
    DeclareLaunchArgument(
        "source_rate_hz", default_value="10.0", description="With source:=video or synthetic: frames per second."
    ),
    DeclareLaunchArgument(
        "video_device", default_value="/dev/video0", description="With source:=usb: the device of the camera."
    ),
    DeclareLaunchArgument(
        "use_rviz", default_value="false", choices=["true", "false"], description="Show the overlay in RViz."
    ),
    DeclareLaunchArgument(
        "log_level",
        default_value="info",
        choices=["debug", "info", "warn", "error", "fatal"],
        description="Least severe messages that are logged.",
    ),
]


def _panoptic_node(context):
    """The node; arguments that are left empty do not override the parameter file."""
    names = ("model", "weights", "device", "engine")
    values = {name: LaunchConfiguration(name).perform(context) for name in names}
    return [
        Node(
            package="yoso_ros",
            executable="panoptic_node",
            name="yoso",
            namespace=LaunchConfiguration("namespace"),
            parameters=[LaunchConfiguration("params_file"), {name: value for name, value in values.items() if value}],
            remappings=[
                ("image_raw", LaunchConfiguration("input_image_topic")),
                ("camera_info", LaunchConfiguration("camera_info_topic")),
            ],
            arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
            output="screen",
        )
    ]


def _point_cloud_node(context):
    """The node of the labelled cloud, when there is a depth image. In <namespace>/yoso it finds the labels itself."""
    depth = LaunchConfiguration("input_depth_topic").perform(context)
    if not depth:
        return []
    namespace = LaunchConfiguration("namespace").perform(context).strip("/")
    return [
        Node(
            package="yoso_ros",
            executable="point_cloud_node",
            name="point_cloud",
            namespace=f"/{namespace}/yoso" if namespace else "/yoso",
            remappings=[("depth/image_raw", depth)],
            output="screen",
        )
    ]


def _source(context):
    """The process that publishes images, if one has to be started."""
    source = LaunchConfiguration("source").perform(context)
    if source == "topic":
        return []
    if source == "usb":
        package, executable = _usb_driver()
        parameters = {"video_device": LaunchConfiguration("video_device")}
    else:
        path = LaunchConfiguration("source_path").perform(context)
        if source == "video" and not path:
            raise RuntimeError("source:=video needs source_path:=<video file, image folder or recording>")
        package, executable = "yoso_ros", "source_node"
        rate_hz = float(LaunchConfiguration("source_rate_hz").perform(context))
        parameters = {"source": path or "synthetic", "rate_hz": rate_hz}
    return [
        Node(
            package=package,
            executable=executable,
            name="camera",
            parameters=[parameters],
            remappings=[
                ("image_raw", LaunchConfiguration("input_image_topic")),
                ("camera_info", LaunchConfiguration("camera_info_topic")),
            ],
            output="screen",
        )
    ]


def _usb_driver():
    for package, executable in USB_DRIVERS:
        try:
            get_package_share_directory(package)
        except PackageNotFoundError:
            continue
        return package, executable
    known = " or ".join(package for package, _ in USB_DRIVERS)
    raise RuntimeError(f"source:=usb needs the package {known}; install one, e.g. ros-$ROS_DISTRO-usb-cam")


def generate_launch_description():
    """The arguments, the image source, the node, and RViz when asked for."""
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", PathJoinSubstitution([SHARE, "config", "rviz", "yoso.rviz"])],
        condition=IfCondition(LaunchConfiguration("use_rviz")),
    )
    return LaunchDescription(
        [
            *ARGUMENTS,
            OpaqueFunction(function=_source),
            OpaqueFunction(function=_panoptic_node),
            OpaqueFunction(function=_point_cloud_node),
            rviz,
        ]
    )
