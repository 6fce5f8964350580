# SPDX-License-Identifier: Apache-2.0
"""The arguments that launch files share, and what was given for them: text, truth, number, parameters of the node."""

from pathlib import Path
from typing import List  # noqa: UP035 - launch_ros of Humble knows lists of strings by this name only

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
    "use_sim_time": ("false", "true: all that is started here goes by /clock."),
    "respawn": ("false", "true: start the node again when its process ends for any reason but the end of the launch."),
    "respawn_delay_s": ("2.0", "With respawn:=true: seconds to wait before that."),
    "dds_profile": (
        EnvironmentVariable(DDS_PROFILE, default_value=LARGE_IMAGES),
        f"Fast DDS profile of all processes started here; else that in {DDS_PROFILE} or one for large images.",
    ),
    "log_level": ("info", "Least severe messages that are logged.", ["debug", "info", "warn", "error", "fatal"]),
}
# Arguments of those that can start a source of images.
SOURCE_ARGUMENTS = {
    "source_path": ("", "With source:=video: the video file, image folder or recording."),
    "source_rate_hz": ("10.0", "With source:=video or synthetic: frames per second."),
    "source_loop": ("true", "With source:=video or synthetic: true begins again at the end."),
    "use_rviz": ("false", "true: show overlay and points in RViz."),
}


def parameter_arguments(without=()):
    """The parameters of the node as arguments: dict as `declare` takes it. Left empty, params_file decides.

    Args:
        without: names of parameters that the launch file itself decides.
    """
    arguments = {}
    for parameter in PARAMETERS:
        if parameter.name not in without:
            allowed = f" Allowed: {parameter.allowed}." if parameter.allowed else ""
            form = " Several with commas between." if isinstance(parameter.default, tuple) else ""
            text = f"{parameter.text}{allowed}{form} Empty for that of params_file."
            arguments[parameter.name] = ("", text)
    return arguments


def declare(arguments):
    """Launch arguments: list of DeclareLaunchArgument.

    Args:
        arguments: dict of name to (default, None for one that must be given; text; allowed values, optional).
    """
    return [
        DeclareLaunchArgument(name, default_value=default, description=text, choices=choices[0] if choices else None)
        for name, (default, text, *choices) in arguments.items()
    ]


def value(context, name):
    """What a launch argument is: str."""
    return LaunchConfiguration(name).perform(context)


def truth(context, name):
    """What a launch argument is, as bool; true, True and 1 are true.

    Raises:
        RuntimeError: it is neither true nor false.
    """
    return _truth(name, value(context, name))


def number(context, name):
    """What a launch argument is, as float.

    Raises:
        RuntimeError: it is no number.
    """
    return _number(name, value(context, name), float)


def params_file(context):
    """Path of the parameter file.

    Raises:
        RuntimeError: there is none; launch would start the node without it.
    """
    path = value(context, "params_file")
    if not Path(path).is_file():
        raise RuntimeError(f"params_file: expected a YAML file with parameters, found none at {path}")
    return path


def given_parameters(context):
    """Parameters of the node that the launch file declares and that are not left empty: dict of name to value.

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
    # Else a text that looks like a number would arrive as one.
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
    """The namespace with its slash in front: "" or such as /robot."""
    namespace = value(context, "namespace").strip("/")
    return f"/{namespace}" if namespace else ""


def node_name(context):
    """Full name of the node, such as /robot/yoso."""
    return f"{base_namespace(context)}/yoso"


def topic(context, name):
    """A topic that was given, as full name: one without a slash in front lies in the namespace."""
    return name if name.startswith("/") else f"{base_namespace(context)}/{name}"
