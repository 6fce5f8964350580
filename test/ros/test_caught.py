# SPDX-License-Identifier: Apache-2.0
"""Whatever a callback, a service, a timer or a transition raises: the node goes on, counts it and says it once."""

import sys
import time
import types

import pytest
from patience import PATIENCE_S

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")

import rclpy
from node_with_test_segmenter import ColourSegmenter
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from std_msgs.msg import Header
from std_srvs.srv import SetBool

from yoso_ros.label_sets import load_label_set
from yoso_ros.ros.caught import GuardedLifecycle
from yoso_ros.ros.causes import LONGEST_TEXT, MOST_CAUSES, Causes
from yoso_ros.ros.context import SingleThreadedExecutor
from yoso_ros.ros.node import PanopticNode
from yoso_ros.ros.vision import VisionOutputs

pytestmark = pytest.mark.ros


class Logger:
    """Keeps the errors that a node logs."""

    def __init__(self):
        self.lines = []

    def error(self, text):
        self.lines.append(text)


class FaultyNode(GuardedLifecycle, LifecycleNode):
    """Everything that it is called for raises; numbers in the texts change."""

    def __init__(self):
        super().__init__("faulty")
        self.calls = dict.fromkeys(("timer", "message", "service"), 0)
        self.create_timer(0.01, lambda: self.fail("timer"))
        self.create_subscription(Header, "topic", lambda message: self.fail("message"), 10)
        self.create_service(SetBool, "service", lambda request, response: self.fail("service"))

    def fail(self, name):
        self.calls[name] += 1
        raise RuntimeError(f"fault {self.calls[name]} of a {name}")


@pytest.fixture
def rclpy_context(ros_domain):
    rclpy.init()
    yield
    rclpy.shutdown()


def test_callbacks_that_raise_end_nothing(rclpy_context):
    node = FaultyNode()
    node.caught._logger = logger = Logger()
    client, publisher = node.create_client(SetBool, "service"), node.create_publisher(Header, "topic", 10)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    answer, deadline = None, time.monotonic() + PATIENCE_S
    while min(node.calls.values()) < 2 or not answer.done():
        assert time.monotonic() < deadline, node.calls
        if client.service_is_ready() and (answer is None or answer.done()):
            answer = client.call_async(SetBool.Request(data=True))
        publisher.publish(Header())
        executor.spin_once(timeout_sec=0.01)
    assert answer.result() == SetBool.Response(success=False, message=""), "answered, and not with success"
    assert node.caught.count == sum(node.calls.values())
    assert sorted(line.split(":")[0] for line in logger.lines) == ["message of topic", "service service", "timer"]
    assert "RuntimeError: fault 1 of a timer" in next(line for line in logger.lines if line.startswith("timer"))
    executor.shutdown()
    node.destroy_node()


def test_a_transition_that_raises_leaves_a_node_that_can_be_configured(rclpy_context, monkeypatch):
    node = PanopticNode(load_segmenter=ColourSegmenter)
    assert node.start()
    (camera,) = node._cameras.values()

    def fail():
        raise RuntimeError("no such entity")

    with monkeypatch.context() as patch:
        patch.setattr(camera.input, "unsubscribe", fail)
        assert node.trigger_deactivate() == TransitionCallbackReturn.ERROR
    assert node._state_machine.current_state[1] == node._phase == "unconfigured" and node._segmenter is None
    assert node.caught.count and "no such entity" in node.caught.last
    assert node.start(), "configured and active again"
    node.close()
    node.destroy_node()


def test_label_info_whose_timer_fires_late_is_left_out(monkeypatch):
    """As when a clean-up came before it in the executor's queue."""

    def message(**fields):
        return types.SimpleNamespace(header=Header(), **fields)

    names = ("LabelInfo", "VisionClass", "Detection2DArray")
    module = types.SimpleNamespace(**dict.fromkeys(names, message))
    monkeypatch.setitem(sys.modules, "vision_msgs", types.ModuleType("vision_msgs"))
    monkeypatch.setitem(sys.modules, "vision_msgs.msg", module)
    published, timers = [], []

    class Publisher:
        destroyed = False

        def publish(self, message):
            assert not self.destroyed, "cannot use Destroyable because destruction was requested"
            published.append(message)

    class Node:
        def create_publisher(self, *arguments):
            return Publisher()

        def destroy_publisher(self, publisher):
            publisher.destroyed = True

        def create_timer(self, period, callback, **options):
            timers.append(callback)
            return callback

        def destroy_timer(self, timer):
            pass

        def get_clock(self):
            return types.SimpleNamespace(now=lambda: types.SimpleNamespace(to_msg=lambda: Header().stamp))

    outputs = VisionOutputs(Node(), "")
    outputs.announce(load_label_set("camvid"), 1.0, lambda: 0.5)
    timers[0]()
    outputs.destroy()
    timers[0]()
    assert len(published) == 2


def test_causes_are_bounded_in_length_and_number():
    causes = Causes()
    names = ["".join(chr(97 + number // 26**k % 26) for k in range(3)) for number in range(200)]
    lines = [causes.line(name + "x" * 1_000_000) for name in names for _ in range(2)]
    told = [line for line in lines if line is not None]
    assert len(told) == MOST_CAUSES + 1 and max(map(len, told)) < LONGEST_TEXT + 150
    assert "further ones are counted" in told[-1] and "(1000003 characters)" in told[0]
    assert causes.line("found 5 bytes") is None, "nothing new beyond the limit"
