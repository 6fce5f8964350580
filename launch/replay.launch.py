# SPDX-License-Identifier: Apache-2.0
"""A recording played at the node, every frame of it, with its own stamps; the answers can be recorded or evaluated."""

import os
import subprocess

from ament_index_python.packages import get_package_prefix
from launch.actions import EmitEvent, ExecuteProcess, OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch_ros.actions import Node

from launch import LaunchDescription
from yoso_ros.ros.launch_arguments import (
    NODE_ARGUMENTS,
    declare,
    node_name,
    number,
    parameter_arguments,
    truth,
    value,
)
from yoso_ros.ros.launch_parts import dds_profile, panoptic_node

OUTPUTS = (
    "panoptic/image_raw",
    "panoptic/segments",
    "panoptic/camera_info",
    "semantic/image_raw",
    "semantic/label_info",
    "stats",
)
OWN_PARAMETERS = ("cameras", "image_transport", "input_reliability")  # of the node; they follow from the recording

ARGUMENTS = {
    "recording": (None, "rosbag2 folder, .mcap, .db3, video file or image folder."),
    "topic": ("", "Image topic of the recording; empty for the only camera topic in it."),
    "rate_hz": ("0.0", "Frames per second; 0 for the recorded rate. Choose one that the node keeps up with."),
    "loop": ("false", "true: start again at the end."),
    "clock": ("false", "true: publish the time of the frames on /clock; with use_sim_time:=true the node goes by it."),
    "record_to": ("", "Folder for a recording of the node's outputs; empty for none."),
    "evaluate_to": (
        "",
        "Folder for a report on accuracy, loss and latency; yoso-ros evaluate-bag --live plays then, with the stamps "
        "of now. Empty for none.",
    ),
}


def _transport(recording, topic):
    """How the recording holds its images: "raw" or "compressed"."""
    # Asked in a process: launch runs in the system's Python, what reads recordings may be in a virtual environment.
    command = [os.path.join(get_package_prefix("yoso_ros"), "lib", "yoso_ros", "yoso-ros"), "bag", "kind", recording]
    done = subprocess.run(command + (["--topic", topic] if topic else []), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return done.stdout.split()[-1]


def _player(context, remappings, node):
    parameters = {"source": value(context, "recording"), "topic": value(context, "topic"), "stamps": "recorded"}
    parameters |= {"rate_hz": number(context, "rate_hz"), "loop": truth(context, "loop")}
    parameters |= {"clock": truth(context, "clock"), "stats": f"{node}/stats"}
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
    source = _evaluation(context, base, evaluate_to) if evaluate_to else _player(context, remappings, base)
    actions = [node, source]
    if value(context, "record_to"):
        # A pattern, for the way to list topics differs between the distributions.
        pattern = f"^{base}/({'|'.join(OUTPUTS)})$"
        command = ["ros2", "bag", "record", "-o", value(context, "record_to"), "-e", pattern]
        actions.append(ExecuteProcess(cmd=command, output="screen"))
    # All ends with the recording, and with the node's work on its last frame.
    ended = OnProcessExit(target_action=source, on_exit=[EmitEvent(event=Shutdown(reason="the recording is over"))])
    return [*actions, RegisterEventHandler(ended)]


def generate_launch_description():
    """The arguments, the node, the player, and the recorder when asked for."""
    arguments = declare(ARGUMENTS | NODE_ARGUMENTS | parameter_arguments(without=OWN_PARAMETERS))
    return LaunchDescription([*arguments, dds_profile(), OpaqueFunction(function=_nodes)])
