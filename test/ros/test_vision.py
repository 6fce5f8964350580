# SPDX-License-Identifier: Apache-2.0
"""Label info and detections over DDS, with the messages of vision_msgs."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from message_packages import message_environment
from patience import PATIENCE_S

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")

from node_probe import Probe
from node_with_test_segmenter import CAR

pytestmark = pytest.mark.ros
HERE = Path(__file__).parent
RED = np.full((8, 12, 3), (255, 0, 0), np.uint8)


def test_label_info_and_detections(ros_domain, start_process, tmp_path):
    """The threshold is the one in use, and a detection has the track id of its segment."""
    environment = message_environment("vision_msgs")

    def heard(topic, kind, name, *latched):
        process = start_process(
            [sys.executable, HERE / "listen_once.py", topic, f"vision_msgs/msg/{kind}", tmp_path / name, *latched],
            environment=environment,
        )
        process.wait_for_output("listening")
        return process

    arguments = [sys.executable, HERE / "node_with_test_segmenter.py", "--ros-args", "--log-level", "yoso:=debug"]
    arguments += ["-r", "image_raw:=/cam/image_raw", "-p", "label_info_period_s:=0.0"]
    node = start_process(arguments, environment=environment)
    probe = Probe()
    probe.connect()
    assert probe.set_parameter("model", "yoso_mobilenetv2_camvid").successful, "its present value"
    refused = probe.set_parameter("model", "another")
    assert not refused.successful and "unconfigured" in refused.reason
    assert probe.set_parameter("score_threshold", 0.75).successful
    label_info = heard("/yoso/semantic/label_info", "LabelInfo", "info", "latched")
    assert label_info.wait(PATIENCE_S) == 0
    info = json.loads((tmp_path / "info").read_text())
    assert info["threshold"] == 0.75 and info["class_map"][CAR] == {"class_id": CAR, "class_name": "car"}

    detections = heard("/yoso/detections", "Detection2DArray", "detections")
    second = 0
    while detections.returncode is None:
        second += 1
        probe.images.publish(probe.message(RED, second))
        probe.answers(second)
    message = json.loads((tmp_path / "detections").read_text())
    (detection,) = message["detections"]
    (segment,) = probe.received["panoptic/segments"][message["header"]["stamp"]["sec"]].segments
    assert detection["id"] == str(segment.track_id) != "0"
    assert detection["results"][0]["hypothesis"] == {"class_id": str(CAR), "score": 0.75}
    assert (detection["bbox"]["size_x"], detection["bbox"]["size_y"]) == (12.0, 8.0)
    node.wait_for_output(f"frame {second}.000000007 of /cam/image_raw: latency")  # its own lines of debugging
    probe.close()


def test_an_empty_list_of_cameras_says_what_is_wrong(ros_domain, start_process):
    arguments = [sys.executable, HERE / "node_with_test_segmenter.py", "--ros-args", "-p", "cameras:=[]"]
    node = start_process(arguments)
    assert node.wait(PATIENCE_S) == 2
    (line,) = node.output().splitlines()
    assert line.startswith("panoptic_node: cameras: expected a list of strings, found an empty list") and "['']" in line
