# SPDX-License-Identifier: Apache-2.0
"""What the launch files share: their arguments with texts, the panoptic node, the source of images, and RViz."""

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from yoso_ros.node_process import dds_profile_variable

SHARE = FindPackageShare("yoso_ros")
DDS_PROFILE = dds_profile_variable()
LARGE_IMAGES = PathJoinSubstitution([SHARE, "config", "dds", "large_images.xml"])
# USB camera drivers of ROS 2, in the order of preference, with their executables.
USB_DRIVERS = (("usb_cam", "usb_cam_node_exe"), ("v4l2_camera", "v4l2_camera_node"))

# Arguments of every launch file: name to default, text and, for some, the allowed values.
NODE_ARGUMENTS = {
    "namespace": ("", "Namespace of the node; its topics are <namespace>/yoso/..."),
    "params_file": (PathJoinSubstitution([SHARE, "config", "node.yaml"]), "Parameter file of the node."),
    "model": ("", "Model configuration, name or YAML file; empty for that of params_file."),
    "weights": ("", "Weights file; empty for that of params_file."),
    "download": (
        "",
        "true: fetch the model's weights where they are not on this machine; empty for that of params_file.",
        ["", "true", "false"],
    ),
    "device": ("", "auto, cpu, cuda or cuda:N; empty for that of params_file."),
    "engine": ("", "auto, torch, openvino, onnxruntime or tensorrt; empty for that of params_file."),
    "precision": ("", "auto, fp32, bf16, fp16 or int8; empty for that of params_file."),
    "dds_profile": (
        EnvironmentVariable(DDS_PROFILE, default_value=LARGE_IMAGES),
        f"Fast DDS profile of all processes started here; else that in {DDS_PROFILE} or one for large images.",
    ),
    "log_level": ("info", "Least severe messages that are logged.", ["debug", "info", "warn", "error", "fatal"]),
}
OVERRIDES = ("model", "weights", "download", "device", "engine", "precision")
# Arguments of those that can start a source of images.
SOURCE_ARGUMENTS = {
    "source_path": ("", "With source:=video: the video file, image folder or recording."),
    "source_rate_hz": ("10.0", "With source:=video or synthetic: frames per second."),
    "source_loop": ("true", "With source:=video or synthetic: begin again at the end.", ["true", "false"]),
    "use_rviz": ("false", "Show overlay and points in RViz.", ["true", "false"]),
}


def declare(arguments):
    """Launch arguments: list of DeclareLaunchArgument.

    Args:
        arguments: dict of name to (default, None for one that must be given; text; allowed values, optional).
    """
    return [
        DeclareLaunchArgument(name, default_value=default, description=text, choices=choices[0] if choices else None)
        for name, (default, text, *choices) in arguments.items()
    ]


def dds_profile():
    """Give all processes that are started from here on the profile; a camera driver loses large images without."""
    return SetEnvironmentVariable(DDS_PROFILE, LaunchConfiguration("dds_profile"))


def value(context, name):
    """What a launch argument is: str."""
    return LaunchConfiguration(name).perform(context)


def panoptic_node(context, remappings, parameters=None):
    """The node; arguments that are left empty do not override the parameter file.

    Args:
        remappings: list of (topic of the node, topic). parameters: dict of further ones.
    """
    given = {name: value(context, name) for name in OVERRIDES if value(context, name)}
    if "download" in given:
        given["download"] = given["download"] == "true"
    return Node(
        package="yoso_ros",
        executable="panoptic_node",
        name="yoso",
        namespace=LaunchConfiguration("namespace"),
        parameters=[LaunchConfiguration("params_file"), given | (parameters or {})],
        remappings=remappings,
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
        output="screen",
    )


def node_name(context):
    """Full name of the node, such as /robot/yoso."""
    namespace = value(context, "namespace").strip("/")
    return f"/{namespace}/yoso" if namespace else "/yoso"


def image_source(context, name, remappings):
    """What publishes images as `source` says: a list of one node, or of none for topics that exist.

    Raises:
        RuntimeError: a video without `source_path`, a rate that is no number, or no driver for a USB camera.
    """
    source, path = value(context, "source"), value(context, "source_path")
    if source == "topic":
        return []
    if source == "usb":
        package, executable = _usb_driver()
        parameters = {"video_device": LaunchConfiguration("video_device")}
    else:
        if source == "video" and not path:
            raise RuntimeError("source:=video needs source_path:=<video file, image folder or recording>")
        package, executable = "yoso_ros", "source_node"
        source = path if source == "video" else "synthetic"
        parameters = {"source": source, "rate_hz": number(context, "source_rate_hz")}
        parameters["loop"] = value(context, "source_loop") == "true"
    return [
        Node(
            package=package,
            executable=executable,
            name=name,
            parameters=[parameters],
            remappings=remappings,
            output="screen",
        )
    ]


def number(context, name):
    """What a launch argument is, as float.

    Raises:
        RuntimeError: it is no number.
    """
    try:
        return float(value(context, name))
    except ValueError:
        raise RuntimeError(f"{name}: expected a number, found {value(context, name)!r}") from None


def _usb_driver():
    for package, executable in USB_DRIVERS:
        try:
            get_package_share_directory(package)
        except PackageNotFoundError:
            continue
        return package, executable
    known = " or ".join(package for package, _ in USB_DRIVERS)
    raise RuntimeError(f"source:=usb needs the package {known}; install one, e.g. ros-$ROS_DISTRO-usb-cam")


def rviz():
    """RViz with the package's view, if `use_rviz` says so.

    To come before the nodes: where RViz is missing the launch ends, and would leave them behind.
    """
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", PathJoinSubstitution([SHARE, "config", "rviz", "yoso.rviz"])],
        condition=IfCondition(LaunchConfiguration("use_rviz")),
    )
