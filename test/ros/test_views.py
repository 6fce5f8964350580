# SPDX-License-Identifier: Apache-2.0
"""The views for RViz and Foxglove: every topic that they show is published by the running nodes."""

import json
import re
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

from yoso_ros.label_sets import load_label_set
from yoso_ros.resources import share_path
from yoso_ros.ros.rviz_view import write_view

FOXGLOVE, RVIZ = (Path(share_path(f"config/{name}")) for name in ("foxglove/yoso.json", "rviz/yoso.rviz"))
NODE = Path(__file__).with_name("node_with_test_segmenter.py")


def topics_of_rviz():
    displays = yaml.safe_load(RVIZ.read_text())["Visualization Manager"]["Displays"]
    return {display["Topic"]["Value"] for display in displays}


def test_the_view_follows_namespace_and_cameras(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert write_view("/yoso", [""]) == RVIZ
    path = write_view("/robot/yoso", ["front", "rear"])
    displays = yaml.safe_load(path.read_text())["Visualization Manager"]["Displays"]
    own = {topic.removeprefix("/yoso/") for topic in topics_of_rviz()}
    shown = [display["Topic"]["Value"] for display in displays]
    assert sorted(shown) == sorted(f"/robot/yoso/{camera}/{name}" for camera in ("front", "rear") for name in own)
    assert len({display["Name"] for display in displays}) == len(displays)
    assert path.parent.parent == tmp_path


def topics_of_foxglove():
    """Whatever looks like a topic; a path below a message, such as /yoso/stats.latency_ms, counts as its topic."""
    return {text.split(".")[0] for text in re.findall(r'"(/[\w./]+)"', FOXGLOVE.read_text())}


def test_every_panel_of_the_layout_has_a_configuration():
    layout = json.loads(FOXGLOVE.read_text())

    def leaves(node):
        return (
            [node] if isinstance(node, str) else [leaf for side in ("first", "second") for leaf in leaves(node[side])]
        )

    assert sorted(leaves(layout["layout"])) == sorted(layout["configById"])


def test_fields_in_the_layout_are_fields_of_the_messages():
    messages = pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")
    fields = messages.InferenceStats.get_fields_and_field_types()
    named = re.findall(r'"/yoso/stats\.(\w+)"', FOXGLOVE.read_text())
    assert named and set(named) <= set(fields)
    assert "segments" in messages.PanopticSegmentArray.get_fields_and_field_types()


def test_the_parameters_for_nav2_name_topics_and_classes_that_exist():
    page = Path(__file__).resolve().parents[2] / "docs/nav2.md"
    (block,) = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.S)
    layer = yaml.safe_load(block)["local_costmap"]["local_costmap"]["ros__parameters"]["semantic_segmentation_layer"]
    camera = layer["camera"]
    listed = [name for kind in camera["class_types"] for name in camera[kind]["classes"]]
    known = {entry.name for entry in load_label_set("camvid").classes}
    assert len(listed) == len(set(listed)) and set(listed) < known
    topics = {camera[f"{name}_topic"].removeprefix("/yoso/") for name in ("segmentation", "confidence", "labels")}
    assert topics == {"semantic/image_raw", "confidence/image_raw", "semantic/label_info"}


@pytest.mark.ros
def test_every_topic_of_the_views_is_published(ros_domain, start_process):
    rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
    wanted = topics_of_rviz() | topics_of_foxglove()
    assert {"/yoso/overlay/image_raw", "/yoso/points", "/diagnostics"} <= wanted
    start_process([sys.executable, NODE])
    start_process([sys.executable, "-m", "yoso_ros.ros.point_cloud_node"])
    rclpy.init()
    node = rclpy.create_node("viewer")
    try:
        for _ in range(300):
            missing = [topic for topic in wanted if not node.count_publishers(topic)]
            if not missing:
                break
            rclpy.spin_once(node, timeout_sec=0.05)
        assert not missing
    finally:
        node.destroy_node()
        rclpy.shutdown()
