# SPDX-License-Identifier: Apache-2.0
"""The arguments shared by the launch files, and their values as text, bool, number or parameters of the node."""

from pathlib import Path
from typing import List  # noqa: UP035 - launch_ros of Humble knows lists of strings only by this name

from launch.actions import DeclareLaunchArgument
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from yoso_ros.node_process import dds_profile_variable
from yoso_ros.ros.parameters import PARAMETERS

SHARE = FindPackageShare("yoso_ros")
DDS_PROFILE = dds_profile_variable()
LARGE_IMAGES = PathJoinSubstitution([SHARE, "config", "dds", "large_images.xml"])
TRUTH = {"true": True, "1": True, "false": False, "0": False}

# Arguments of every launch file: name to default and text.
NODE_ARGUMENTS = {
    "namespace": ("", "Namespace of the node and of the source of images; the topics are <namespace>/yoso/..."),
    "params_file": (PathJoinSubstitution([SHARE, "config", "node.yaml"]), "Parameter file of the node."),
    "use_sim_time": ("false", "true: all nodes started here use /clock."),
    "respawn": ("false", "true: restart the node if its process ends for any reason other than the end of the launch."),
    "respawn_delay_s": ("2.0", "With respawn:=true: seconds before a restart."),
    "dds_profile": (
        EnvironmentVariable(DDS_PROFILE, default_value=LARGE_IMAGES),
        f"Fast DDS profile of all processes started here; default: that in {DDS_PROFILE}, or one for large images.",
    ),
    "log_level": ("info", "Minimum severity of logged messages.", ["debug", "info", "warn", "error", "fatal"]),
}
# Arguments of launch files that can start a source of images.
SOURCE_ARGUMENTS = {
    "source_path": ("", "With source:=video: the video file, image folder or recording."),
    "source_rate_hz": ("10.0", "With source:=video or synthetic: frames per second."),
    "source_loop": ("true", "With source:=video or synthetic: true starts again at the end."),
    "use_rviz": ("false", "true: show overlay and points in RViz."),
}


def parameter_arguments(without=()):
    """The parameters of the node as arguments: dict as `declare` takes it. Left empty, params_file decides.

    Args:
        without: names of parameters set by the launch file itself.
    """
    arguments = {}
    for parameter in PARAMETERS:
        if parameter.name not in without:
            allowed = f" Allowed: {parameter.allowed}." if parameter.allowed else ""
            form = " Separate several by commas." if isinstance(parameter.default, tuple) else ""
            text = f"{parameter.text}{allowed}{form} Empty: the value of params_file."
            arguments[parameter.name] = ("", text)
    return arguments


def declare(arguments):
    """Launch arguments: list of DeclareLaunchArgument.

    Args:
        arguments: dict of name to (default, None for a required one; text; allowed values, optional).
    """
    return [
        DeclareLaunchArgument(name, default_value=default, description=text, choices=choices[0] if choices else None)
        for name, (default, text, *choices) in arguments.items()
    ]


def value(context, name):
    """Value of a launch argument: str."""
    return LaunchConfiguration(name).perform(context)


def truth(context, name):
    """Value of a launch argument as bool; true, True and 1 are true.

    Raises:
        RuntimeError: it is neither true nor false.
    """
    return _truth(name, value(context, name))


def number(context, name):
    """Value of a launch argument as float.

    Raises:
        RuntimeError: it is not a number.
    """
    return _number(name, value(context, name), float)


def params_file(context):
    """Path of the parameter file.

    Raises:
        RuntimeError: it does not exist; launch would start the node without it.
    """
    path = value(context, "params_file")
    if not Path(path).is_file():
        raise RuntimeError(f"params_file: expected a YAML file with parameters, found none at {path}")
    return path


def given_parameters(context):
    """Parameters of the node declared by the launch file and not left empty: dict of name to value.

    Raises:
        RuntimeError: a value that the node would refuse.
    """
    given = {}
    for parameter in PARAMETERS:
        text = context.launch_configurations.get(parameter.name, "")
        if text:
            given[parameter.name] = _parameter(parameter, text)
    return given


def _parameter(parameter, text):
    name, default = parameter.name, parameter.default
    if isinstance(default, tuple):
        names = [part.strip() for part in text.split(",") if part.strip()] or list(default)
        return ParameterValue(names, value_type=List[str])  # noqa: UP006 - as above
    if isinstance(default, bool):
        result = _truth(name, text)
    elif isinstance(default, (int, float)):
        result = _number(name, text, type(default))
    else:
        result = text
    fault = parameter.fault(result)
    if fault:
        raise RuntimeError(fault)
    # Otherwise text that looks like a number would arrive as a number.
    return ParameterValue(result, value_type=str) if isinstance(result, str) else result


def _truth(name, text):
    if text.strip().lower() not in TRUTH:
        raise RuntimeError(f"{name}: expected true or false, found {text!r}")
    return TRUTH[text.strip().lower()]


def _number(name, text, kind):
    try:
        return kind(text)
    except ValueError:
        kind_name = "whole number" if kind is int else "number"
        raise RuntimeError(f"{name}: expected a {kind_name}, found {text!r}") from None


def base_namespace(context):
    """The namespace with a leading slash: "", or for example /robot."""
    namespace = value(context, "namespace").strip("/")
    return f"/{namespace}" if namespace else ""


def node_name(context):
    """Full name of the node, such as /robot/yoso."""
    return f"{base_namespace(context)}/yoso"


def topic(context, name):
    """The full name of a given topic: without a leading slash it is in the namespace."""
    return name if name.startswith("/") else f"{base_namespace(context)}/{name}"
