# SPDX-License-Identifier: Apache-2.0
"""How the node reads its cameras: as reliably as they send, with a count of what is lost, and publishers by name."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")

from node_probe import Probe
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from yoso_ros.node_process import DDS_PROFILE_VARIABLES, dds_profile_environment, dds_profile_variable
from yoso_ros.ros.inputs import UNNAMED_REPORTS, CameraInput

pytestmark = pytest.mark.ros
HERE = Path(__file__).parent
NODE = HERE / "node_with_test_segmenter.py"
TOPIC = "/cam/image_raw"
RED = np.full((8, 8, 3), (255, 0, 0), np.uint8)
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


@pytest.fixture
def start(ros_domain, start_process):
    probes = []

    def start(**options):
        node = start_process([sys.executable, NODE, "--ros-args", "-r", f"image_raw:={TOPIC}"])
        probes.append(Probe(**options))
        return node, probes[-1]

    yield start
    for probe in probes:
        probe.close()


def values(probe):
    """The values of the newest diagnostics: dict of str."""
    statuses = probe.diagnostics[-1].status if probe.diagnostics else ()
    return {value.key: value.value for status in statuses for value in status.values}


def test_images_are_read_as_their_publishers_send_them(start):
    """Best effort and reliable in turn; meanwhile every image is received once."""
    _, probe = start()

    def read_as(policy):
        found = probe.node.get_subscriptions_info_by_topic(TOPIC)
        return [info.qos_profile.reliability for info in found] == [policy]

    sent = 0

    def send():
        nonlocal sent
        sent += 1
        probe.images.publish(probe.message(RED, sent))
        probe.answers(sent)

    def send_until(policy):
        probe.until(lambda: send() or read_as(policy), f"images read as {policy}")

    probe.connect()
    send_until(ReliabilityPolicy.RELIABLE)
    other = probe.node.create_publisher(Image, TOPIC, BEST_EFFORT)
    send_until(ReliabilityPolicy.BEST_EFFORT)
    probe.node.destroy_publisher(other)
    send_until(ReliabilityPolicy.RELIABLE)
    send()
    probe.until(lambda: probe.stats[-1].processed == sent, "statistics of the last image")
    assert probe.stats[-1].received == sent


def test_images_that_the_middleware_loses_are_counted_and_told_once(start, start_process):
    """A best-effort camera without the DDS profile: sent = received + lost, with the remedy in the log."""
    node, probe = start(image_topic="/elsewhere/image_raw", defaults=False)
    probe.until(lambda: "reading" in node.output(), "the node is active")
    environment = {dds_profile_variable(): ""}
    camera = start_process([sys.executable, HERE / "lossy_camera.py", TOPIC], environment=environment)
    camera.wait_for_output("sent 14")
    probe.until(lambda: int(values(probe).get("lost", 0)) > 0, "losses in the diagnostics")
    probe.until(
        lambda: int(values(probe)["received"]) + int(values(probe)["lost"]) == 14,
        f"received and lost are all that was sent: {values(probe)}",
    )
    camera.stop()
    assert node.output().count("lost between publisher and node") == 1
    assert "config/dds/large_images.xml" in node.output()


def test_a_publisher_is_named_in_the_log_as_soon_as_its_name_is_known():
    """DDS tells of a publisher before it tells whose it is; one that is no node of ROS never has a name."""
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = types.SimpleNamespace(
        node_name="_NODE_NAME_UNKNOWN_", node_namespace="", topic_type="std_msgs/msg/String", qos_profile=qos
    )
    node = types.SimpleNamespace(
        resolve_topic_name=lambda topic, only_expand=False: f"/{topic}",
        get_publishers_info_by_topic=lambda topic: [publisher] if topic == "/image_raw" else [],
    )
    camera = CameraInput(node, "", "raw", "auto", None)
    ((text, _, certain),) = camera.faults(silent=True)
    assert "a publisher without a name publishes /image_raw as std_msgs/msg/String" in text and not certain
    publisher.node_name, publisher.node_namespace = "driver", "/front"
    ((text, _, certain),) = camera.faults(silent=True)
    assert text.startswith("/front/driver publishes") and certain
    publisher.node_name = "_CREATED_BY_BARE_DDS_APP_"
    told = [camera.faults(silent=True)[0][2] for _ in range(UNNAMED_REPORTS + 1)]
    assert told == [False] * UNNAMED_REPORTS + [True]


def test_the_dds_profile_goes_by_the_name_that_this_fast_dds_knows(tmp_path, monkeypatch):
    for variable in DDS_PROFILE_VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    assert DDS_PROFILE_VARIABLES["fastdds"] == "FASTDDS_DEFAULT_PROFILES_FILE"
    for package, variable in DDS_PROFILE_VARIABLES.items():
        (tmp_path / package / "share" / package).mkdir(parents=True)
        monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / package))
        assert dds_profile_variable() == variable and list(dds_profile_environment()) == [variable]
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", "/of/the/user.xml")
    assert dds_profile_environment() == {}
