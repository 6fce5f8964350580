# SPDX-License-Identifier: Apache-2.0
"""The launch files: arguments declared with texts, and what they would start."""

import ast
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

import yoso_ros
from yoso_ros.resources import share_path

PARTS = Path(yoso_ros.__file__).parent / "ros/launch_arguments.py"
CAMERA, SEVERAL, REPLAY = (Path(share_path(f"launch/{n}.launch.py")) for n in ("camera", "multi_camera", "replay"))
PROMISED = {
    "input_image_topic",
    "camera_info_topic",
    "namespace",
    "model",
    "weights",
    "download",
    "device",
    "engine",
    "params_file",
    "source",
    "use_rviz",
    "log_level",
    "use_sim_time",
    "respawn",
    "respawn_delay_s",
}


@pytest.mark.parametrize(
    ("path", "promised"),
    [
        (CAMERA, PROMISED | {"input_depth_topic", "dds_profile"}),
        (SEVERAL, PROMISED | {"cameras"}),
        (
            REPLAY,
            {
                "recording",
                "topic",
                "rate_hz",
                "record_to",
                "clock",
                "use_sim_time",
                "evaluate_to",
                "model",
                "weights",
                "params_file",
                "dds_profile",
            },
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_every_promised_argument_is_declared_with_a_text(path, promised):
    """Read from the source, for launch is not installed everywhere: tables of name to (default, text, choices)."""
    parameters = pytest.importorskip("yoso_ros.ros.parameters", reason="needs ROS 2 (rcl_interfaces)")
    tables = tables_of(PARTS) | tables_of(path)
    (call,) = (
        c for c in ast.walk(ast.parse(path.read_text())) if getattr(getattr(c, "func", None), "id", "") == "declare"
    )
    declared = {}
    for name in ast.walk(call.args[0]):
        if isinstance(name, ast.Name):
            declared |= tables.get(name.id, {})
    of_the_node = set(parameters.BY_NAME) if "parameter_arguments" in ast.dump(call) else set()
    assert set(declared) | of_the_node >= promised
    for entry in declared.values():
        assert isinstance(entry, ast.Tuple) and len(entry.elts) in (2, 3)
        assert isinstance(entry.elts[1], (ast.Constant, ast.JoinedStr)), "expected a text"


def tables_of(path):
    """Dictionaries at the top of a module: dict of name to dict of key to the node of its value."""
    assigned = (s for s in ast.parse(path.read_text()).body if isinstance(s, ast.Assign))
    return {
        s.targets[0].id: {key.value: value for key, value in zip(s.value.keys, s.value.values, strict=True)}
        for s in assigned
        if isinstance(s.value, ast.Dict)
    }


@pytest.mark.needs_launch_ros
@pytest.mark.parametrize(
    ("path", "given", "executables", "words"),
    [
        (CAMERA, {}, ["panoptic_node"], ["image_raw:=/camera/image_raw", "__node:=yoso", "config/node.yaml"]),
        (
            CAMERA,
            {"input_image_topic": "/front/image", "namespace": "robot", "log_level": "debug"},
            ["panoptic_node"],
            ["image_raw:=/front/image", "__ns:=/robot", "--log-level debug"],
        ),
        (CAMERA, {"source": "synthetic"}, ["panoptic_node", "source_node"], ["image_raw:=/camera/image_raw"]),
        (CAMERA, {"input_depth_topic": "/depth"}, ["panoptic_node", "point_cloud_node"], []),
        (
            CAMERA,
            {
                "source": "synthetic",
                "namespace": "robot",
                "input_image_topic": "cam/image",
                "use_sim_time": "True",
                "tracking": "False",
                "max_rate_hz": "10",
                "mask_classes": "car, pedestrian",
                "weights": "12",
            },
            ["panoptic_node", "source_node"],
            ["image_raw:=/robot/cam/image", "__ns:=/robot", "use_sim_time: true", "tracking: false"]
            + ["max_rate_hz: 10.0", "- car\n    - pedestrian", "weights: '12'"],
        ),
        (
            SEVERAL,
            {"cameras": "left, right", "input_image_topic": "/{camera}/color/image_raw"},
            ["panoptic_node"],
            ["left/image_raw:=/left/color/image_raw", "right/image_raw:=/right/color/image_raw"],
        ),
        (
            REPLAY,
            {"recording": "a.png", "rate_hz": "5"},
            ["panoptic_node", "source_node"],
            ["image_raw:=/replay/image_raw"],
        ),
        (SEVERAL, {"source": "synthetic"}, ["panoptic_node", "source_node"], ["rear/image_raw:=/rear/image_raw"]),
    ],
)
def test_what_a_launch_file_starts(ros_domain, tmp_path, monkeypatch, path, given, executables, words):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("a.png", np.zeros((48, 64, 3), np.uint8))
    started, _ = launch(path, given, len(executables))
    assert sorted(started) == executables
    for word in words:
        assert word in started["panoptic_node"]
    if "source" in given and path == CAMERA:  # the source publishes where the node reads, whatever the namespace
        for ending in ("image_raw", "camera_info"):
            (topic,) = re.findall(rf"{ending}:=(\S+)", started["panoptic_node"])
            assert f"{ending}:={topic}" in started["source_node"]


@pytest.mark.needs_launch_ros
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"params_file": "/no/such.yaml"}, ["params_file", "/no/such.yaml"]),
        ({"use_rviz": "maybe"}, ["use_rviz: expected true or false, found 'maybe'"]),
        ({"max_rate_hz": "fast"}, ["max_rate_hz: expected a number, found 'fast'"]),
        ({"score_threshold": "7"}, ["score_threshold: expected 0 to 1"]),
    ],
)
def test_what_a_launch_file_refuses(ros_domain, given, words, caplog, capfd):
    started, status = launch(CAMERA, given, 1)
    assert not started and status == 1
    said = caplog.text + "".join(capfd.readouterr())
    for word in words:
        assert word in said


def launch(path, given, count):
    """Run a launch file until `count` processes have started: their commands with parameter files by name, status."""
    pytest.importorskip("launch_ros", reason="needs launch_ros, which comes with a ROS installation")
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix
    from launch.actions import EmitEvent, IncludeLaunchDescription, RegisterEventHandler
    from launch.event_handlers import OnProcessStart
    from launch.events import Shutdown
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    from launch import LaunchDescription, LaunchService

    try:
        get_package_prefix("yoso_ros")
    except PackageNotFoundError:
        pytest.skip("needs yoso_ros built by colcon and its setup file sourced")
    started = {}

    def on_start(event, context):
        files = [
            Path(word) for before, word in zip(event.cmd, event.cmd[1:], strict=False) if before == "--params-file"
        ]
        started[Path(event.cmd[0]).name] = " ".join([*event.cmd, "\n", *(file.read_text() for file in files)])
        return [EmitEvent(event=Shutdown())] if len(started) == count else []

    service = LaunchService(noninteractive=True)
    service.include_launch_description(
        LaunchDescription(
            [
                RegisterEventHandler(OnProcessStart(on_start=on_start)),
                IncludeLaunchDescription(PythonLaunchDescriptionSource(str(path)), launch_arguments=given.items()),
            ]
        )
    )
    return started, service.run()
