# SPDX-License-Identifier: Apache-2.0
"""Changing the running node: parameters, the enable service and the lifecycle."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from yoso_ros.resources import share_path

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")

from node_probe import Probe, pixels_of
from node_with_test_segmenter import CAR, LOST_RED
from sensor_msgs.msg import Image

from yoso_ros.inference.engines import ENGINE_NAMES, PRECISIONS
from yoso_ros.ros.parameters import PARAMETERS

pytestmark = pytest.mark.ros
NODE = Path(__file__).with_name("node_with_test_segmenter.py")
RED = np.full((8, 8, 3), (255, 0, 0), np.uint8)


@pytest.fixture
def node_and_probe(ros_domain, start_process):
    parameters = share_path("config/node.yaml")
    arguments = ["--ros-args", "-r", "image_raw:=/cam/image_raw", "--params-file", parameters]
    node = start_process([sys.executable, NODE, *arguments])
    probe = Probe({"mask/image_raw": Image})
    probe.connect()
    yield node, probe
    probe.close()


def test_the_parameter_file_holds_every_parameter_with_its_default():
    content = yaml.safe_load(share_path("config/node.yaml").read_text())["/**"]["ros__parameters"]
    assert content == {p.name: list(p.default) if isinstance(p.default, tuple) else p.default for p in PARAMETERS}


def test_the_node_takes_every_engine_and_precision_that_there_is():
    choices = {p.name: p.choices for p in PARAMETERS}
    assert (set(choices["engine"]), set(choices["precision"])) == (set(ENGINE_NAMES), set(PRECISIONS))


def test_parameters_at_run_time(node_and_probe):
    _, probe = node_and_probe

    def score_after(second):
        probe.images.publish(probe.message(RED, second))
        (segment,) = probe.answers(second)["panoptic/segments"].segments
        return segment.score

    assert score_after(1) == pytest.approx(0.4), "the model's own threshold"
    assert probe.set_parameter("score_threshold", 0.75).successful
    assert score_after(2) == pytest.approx(0.75)
    for name, value, said in [
        ("score_threshold", 1.5, "1"),
        ("score_threshold", -0.5, "0 to 1, or -1"),
        ("score_threshold", float("nan"), "1"),
        ("score_threshold", "high", "number"),
        ("overlay_alpha", 2.0, "1.0"),
        ("max_rate_hz", -3.0, "0.0"),
        ("mask_classes", ["unicorn"], "bicyclist"),
        ("model", "another", "unconfigured"),
        ("device", "cuda", "unconfigured"),
        ("warmup_iterations", 7, "unconfigured"),
        ("enable", "yes", "BOOL"),
    ]:
        result = probe.set_parameter(name, value)
        assert not result.successful, f"{name} {value} was accepted"
        assert said in result.reason, f"{name} {value}: {result.reason}"
    assert score_after(3) == pytest.approx(0.75), "a refused change leaves the old value"
    assert probe.set_parameter("score_threshold", -1).successful
    assert score_after(4) == pytest.approx(0.4)
    assert not pixels_of(probe.answers(4)["mask/image_raw"]).any()
    assert probe.set_parameter("mask_classes", ["car", "road"]).successful
    assert score_after(5) == pytest.approx(0.4)
    assert (pixels_of(probe.answers(5)["mask/image_raw"]) == 255).all()
    assert pixels_of(probe.answers(5)["semantic/image_raw"])[0, 0] == CAR


def test_enable_service_and_parameter_stay_in_step(node_and_probe):
    from std_srvs.srv import SetBool

    _, probe = node_and_probe
    response = probe.call(SetBool, "enable", SetBool.Request(data=False))
    assert response.success and probe.parameter("enable") is False
    probe.until(lambda: probe.images.get_subscription_count() == 0, "a disabled node reads nothing")
    probe.images.publish(probe.message(RED, 1))
    probe.spin(0.5)
    assert not probe.received["panoptic/image_raw"]
    assert probe.set_parameter("enable", True).successful
    probe.connect()
    probe.images.publish(probe.message(RED, 2))
    probe.answers(2)


def test_max_rate(node_and_probe):
    _, probe = node_and_probe
    assert probe.set_parameter("max_rate_hz", 4).successful
    started = time.monotonic()
    for second in range(1, 61):
        probe.images.publish(probe.message(RED, second))
        probe.spin(0.03)
    probe.answers(60)
    most = 4 * (time.monotonic() - started) + 1
    answered = len(probe.received["panoptic/image_raw"])
    assert most / 2 <= answered <= most
    probe.until(lambda: probe.stats[-1].processed == answered, "stats")
    assert probe.stats[-1].received == 60 == answered + probe.stats[-1].dropped


def test_lifecycle(node_and_probe):
    from lifecycle_msgs.msg import State, Transition
    from lifecycle_msgs.srv import ChangeState, GetState

    node, probe = node_and_probe

    def change(transition):
        return probe.call(
            ChangeState, "change_state", ChangeState.Request(transition=Transition(id=transition))
        ).success

    def state():
        return probe.call(GetState, "get_state", GetState.Request()).current_state.id

    assert state() == State.PRIMARY_STATE_ACTIVE
    probe.images.publish(probe.message(RED, 1))
    probe.answers(1)
    assert change(Transition.TRANSITION_DEACTIVATE)
    probe.until(lambda: probe.images.get_subscription_count() == 0, "an inactive node reads nothing")
    assert not probe.set_parameter("model", "another").successful
    assert change(Transition.TRANSITION_CLEANUP)
    probe.until(lambda: probe.node.count_publishers("/yoso/panoptic/image_raw") == 0, "the topics are gone")
    # A model that cannot be loaded leaves the node unconfigured, alive and ready for another one.
    assert probe.set_parameter("model", "missing").successful
    assert not change(Transition.TRANSITION_CONFIGURE)
    assert state() == State.PRIMARY_STATE_UNCONFIGURED and "found 'missing'" in node.output()
    assert probe.set_parameter("model", "another").successful
    assert change(Transition.TRANSITION_CONFIGURE)
    assert state() == State.PRIMARY_STATE_INACTIVE
    assert change(Transition.TRANSITION_ACTIVATE)
    probe.connect()
    probe.images.publish(probe.message(RED, 2))
    probe.answers(2)
    assert change(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert state() == State.PRIMARY_STATE_FINALIZED
    assert node.stop() == 0 and "Traceback" not in node.output()


def test_a_device_that_is_lost_is_told_and_a_new_configuration_brings_it_back(node_and_probe):
    """A stand-in for a GPU: whatever is computed after the loss fails, also what is right."""
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    node, probe = node_and_probe
    for count in range(1, 5):
        probe.images.publish(probe.message(np.full_like(RED, LOST_RED) if count == 1 else RED, count))
        probe.until(lambda count=count: probe.stats and probe.stats[-1].failed == count, f"{count} failed frames")
    assert not probe.received["panoptic/image_raw"] and node.output().count("CUDA error") == 1
    before = len(probe.diagnostics)
    probe.until(
        lambda: any("CUDA error" in str(array.status[0]) for array in probe.diagnostics[before:]),
        "the cause in the diagnostics",
    )
    for name in ("DEACTIVATE", "CLEANUP", "CONFIGURE", "ACTIVATE"):
        transition = Transition(id=getattr(Transition, f"TRANSITION_{name}"))
        assert probe.call(ChangeState, "change_state", ChangeState.Request(transition=transition)).success
    probe.connect()
    probe.images.publish(probe.message(RED, 10))
    assert np.all(pixels_of(probe.answers(10)["panoptic/image_raw"]) >> 8 == CAR)
