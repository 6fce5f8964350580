# SPDX-License-Identifier: Apache-2.0
"""What the launch files start: the panoptic node, the source of images, and RViz."""

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch.actions import SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from yoso_ros.ros.launch_arguments import (
    DDS_PROFILE,
    base_namespace,
    given_parameters,
    node_name,
    number,
    params_file,
    truth,
    value,
)
from yoso_ros.ros.rviz_view import write_view

# USB camera drivers of ROS 2 in order of preference, with their executables.
USB_DRIVERS = (("usb_cam", "usb_cam_node_exe"), ("v4l2_camera", "v4l2_camera_node"))


def dds_profile():
    """Give all processes started from here on the profile; without it a camera driver loses large images."""
    return SetEnvironmentVariable(DDS_PROFILE, LaunchConfiguration("dds_profile"))


def panoptic_node(context, remappings, parameters=None):
    """The node; empty arguments do not override the parameter file.

    Args:
        remappings: list of (topic of the node, topic). parameters: dict of further ones.

    Raises:
        RuntimeError: no parameter file, or a parameter that the node would refuse.
    """
    own = given_parameters(context) | {"use_sim_time": truth(context, "use_sim_time")} | (parameters or {})
    return Node(
        package="yoso_ros",
        executable="panoptic_node",
        name="yoso",
        namespace=base_namespace(context),
        parameters=[params_file(context), own],
        remappings=remappings,
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
        output="screen",
        **revival(context),
    )


def revival(context):
    """Whether and when launch restarts a process that has ended: keyword arguments of its action."""
    return {"respawn": truth(context, "respawn"), "respawn_delay": number(context, "respawn_delay_s")}


def image_source(context, name, remappings):
    """The publisher of images selected by `source`: a list of one node, or none for existing topics.

    Raises:
        RuntimeError: a video without `source_path`, a rate that is not a number, or no driver for a USB camera.
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
        parameters["loop"] = truth(context, "source_loop")
    return [
        Node(
            package=package,
            executable=executable,
            name=name,
            namespace=base_namespace(context),
            parameters=[parameters | {"use_sim_time": truth(context, "use_sim_time")}],
            remappings=remappings,
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


def rviz(context, cameras=("",)):
    """RViz with the package's view of the cameras, if `use_rviz` says so: a list of one node or none.

    To be listed before the nodes: if RViz is missing, the launch ends and would leave them running.

    Args:
        cameras: their names; one empty name for a camera without one.
    """
    if not truth(context, "use_rviz"):
        return []
    return [
        Node(
            package="rviz2",
            executable="rviz2",
            arguments=["-d", str(write_view(node_name(context), cameras))],
            parameters=[{"use_sim_time": truth(context, "use_sim_time")}],
        )
    ]
