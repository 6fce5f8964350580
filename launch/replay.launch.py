# SPDX-License-Identifier: Apache-2.0
"""A recording played at the node, every frame of it, with its own stamps; the answers can be recorded or evaluated."""

from launch.actions import DeclareLaunchArgument, EmitEvent, ExecuteProcess, OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

SHARE = FindPackageShare("yoso_ros")
OUTPUTS = ("panoptic/image_raw", "panoptic/segments", "panoptic/camera_info", "semantic/image_raw", "stats")

ARGUMENTS = [
    DeclareLaunchArgument("recording", description="rosbag2 folder, .mcap, .db3, video file or image folder."),
    DeclareLaunchArgument(
        "topic", default_value="", description="Image topic of the recording; empty for the only camera topic in it."
    ),
    DeclareLaunchArgument(
        "rate_hz",
        default_value="0.0",
        description="Frames per second; 0 for the recorded rate. Choose one that the node keeps up with.",
    ),
    DeclareLaunchArgument("loop", default_value="false", choices=["true", "false"], description="Begin again."),
    DeclareLaunchArgument(
        "record_to", default_value="", description="Folder for a recording of the node's outputs; empty for none."
    ),
    DeclareLaunchArgument(
        "evaluate_to",
        default_value="",
        description="Folder for a report on accuracy, loss and latency; yoso-ros evaluate-bag --live plays then, with "
        "the stamps of now. Empty for none.",
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
        "log_level",
        default_value="info",
        choices=["debug", "info", "warn", "error", "fatal"],
        description="Least severe messages that are logged.",
    ),
]


def _value(context, name):
    return LaunchConfiguration(name).perform(context)


def _transport(recording, topic):
    """ "raw" or "compressed", as the recording holds its images."""
    from yoso_ros.bags import open_source

    frame = next(iter(open_source(recording, topic or None)), None)
    if frame is None:
        raise RuntimeError(f"{recording}: expected frames, found none")
    return frame.kind


def _player(context, remappings):
    return Node(
        package="yoso_ros",
        executable="source_node",
        name="replay",
        parameters=[
            {
                "source": _value(context, "recording"),
                "topic": _value(context, "topic"),
                "rate_hz": float(_value(context, "rate_hz")),
                "loop": _value(context, "loop") == "true",
                "stamps": "recorded",
            }
        ],
        remappings=remappings,
        output="screen",
    )


def _evaluation(context, node, folder):
    command = ["ros2", "run", "yoso_ros", "yoso-ros", "evaluate-bag", _value(context, "recording"), "--live"]
    command += ["--node", node, "--input-topic", "/replay/image_raw", "--hz", _value(context, "rate_hz")]
    command += ["--output", folder]
    for name in ("topic", "model"):
        if _value(context, name):
            command += [f"--{name}", _value(context, name)]
    return ExecuteProcess(cmd=command, output="screen")


def _nodes(context):
    recording, topic = _value(context, "recording"), _value(context, "topic")
    values = {name: _value(context, name) for name in ("model", "weights", "device")}
    values = {name: value for name, value in values.items() if value}
    # Reliable, so that DDS loses no frame; the node still drops what comes while it works.
    values |= {"image_transport": _transport(recording, topic), "input_reliability": "reliable"}
    namespace = _value(context, "namespace").strip("/")
    remappings = [("image_raw", "/replay/image_raw"), ("camera_info", "/replay/camera_info")]
    remappings.append(("image_raw/compressed", "/replay/image_raw/compressed"))
    node = Node(
        package="yoso_ros",
        executable="panoptic_node",
        name="yoso",
        namespace=namespace,
        parameters=[LaunchConfiguration("params_file"), values],
        remappings=remappings,
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
        output="screen",
    )
    base = f"/{namespace}/yoso" if namespace else "/yoso"
    evaluate_to = _value(context, "evaluate_to")
    source = _evaluation(context, base, evaluate_to) if evaluate_to else _player(context, remappings)
    actions = [node, source]
    if _value(context, "record_to"):
        topics = [f"{base}/{name}" for name in OUTPUTS]
        actions.append(
            ExecuteProcess(cmd=["ros2", "bag", "record", "-o", _value(context, "record_to"), *topics], output="screen")
        )
    # All ends with the recording.
    ended = OnProcessExit(target_action=source, on_exit=[EmitEvent(event=Shutdown(reason="the recording is over"))])
    return [*actions, RegisterEventHandler(ended)]


def generate_launch_description():
    """The arguments, the node, the player, and the recorder when asked for."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=_nodes)])
