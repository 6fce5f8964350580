# SPDX-License-Identifier: Apache-2.0
"""A recording played at the node, every frame of it, with its own stamps; the answers can be recorded or evaluated."""

from launch.actions import EmitEvent, ExecuteProcess, OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch_ros.actions import Node

from launch import LaunchDescription
from yoso_ros.ros.launch_parts import NODE_ARGUMENTS, dds_profile, declare, node_name, number, panoptic_node, value

OUTPUTS = ("panoptic/image_raw", "panoptic/segments", "panoptic/camera_info", "semantic/image_raw", "stats")

ARGUMENTS = {
    "recording": (None, "rosbag2 folder, .mcap, .db3, video file or image folder."),
    "topic": ("", "Image topic of the recording; empty for the only camera topic in it."),
    "rate_hz": ("0.0", "Frames per second; 0 for the recorded rate. Choose one that the node keeps up with."),
    "loop": ("false", "Begin again.", ["true", "false"]),
    "record_to": ("", "Folder for a recording of the node's outputs; empty for none."),
    "evaluate_to": (
        "",
        "Folder for a report on accuracy, loss and latency; yoso-ros evaluate-bag --live plays then, with the stamps "
        "of now. Empty for none.",
    ),
}


def _transport(recording, topic):
    """How the recording holds its images: "raw" or "compressed"."""
    from yoso_ros.bags import open_source

    frame = next(iter(open_source(recording, topic or None)), None)
    if frame is None:
        raise RuntimeError(f"{recording}: expected frames, found none")
    return frame.kind


def _player(context, remappings):
    parameters = {"source": value(context, "recording"), "topic": value(context, "topic"), "stamps": "recorded"}
    parameters |= {"rate_hz": number(context, "rate_hz"), "loop": value(context, "loop") == "true"}
    return Node(
        package="yoso_ros",
        executable="source_node",
        name="replay",
        parameters=[parameters],
        remappings=remappings,
        output="screen",
    )


def _evaluation(context, node, folder):
    command = ["ros2", "run", "yoso_ros", "yoso-ros", "evaluate-bag", value(context, "recording"), "--live"]
    command += ["--node", node, "--input-topic", "/replay/image_raw", "--hz", value(context, "rate_hz")]
    command += ["--output", folder]
    for name in ("topic", "model"):
        if value(context, name):
            command += [f"--{name}", value(context, name)]
    return ExecuteProcess(cmd=command, output="screen")


def _nodes(context):
    remappings = [("image_raw", "/replay/image_raw"), ("camera_info", "/replay/camera_info")]
    remappings.append(("image_raw/compressed", "/replay/image_raw/compressed"))
    # Reliable, so that DDS loses no frame; the node still drops what comes while it works.
    transport = _transport(value(context, "recording"), value(context, "topic"))
    node = panoptic_node(context, remappings, {"image_transport": transport, "input_reliability": "reliable"})
    base = node_name(context)
    evaluate_to = value(context, "evaluate_to")
    source = _evaluation(context, base, evaluate_to) if evaluate_to else _player(context, remappings)
    actions = [node, source]
    if value(context, "record_to"):
        topics = [f"{base}/{name}" for name in OUTPUTS]
        actions.append(
            ExecuteProcess(cmd=["ros2", "bag", "record", "-o", value(context, "record_to"), *topics], output="screen")
        )
    # All ends with the recording.
    ended = OnProcessExit(target_action=source, on_exit=[EmitEvent(event=Shutdown(reason="the recording is over"))])
    return [*actions, RegisterEventHandler(ended)]


def generate_launch_description():
    """The arguments, the node, the player, and the recorder when asked for."""
    return LaunchDescription([*declare(ARGUMENTS | NODE_ARGUMENTS), dds_profile(), OpaqueFunction(function=_nodes)])
