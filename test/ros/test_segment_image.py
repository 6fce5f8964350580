# SPDX-License-Identifier: Apache-2.0
"""The service ~/segment_image over DDS: beside a camera, without one, with bad images, on an inactive node."""

import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("yoso_ros.srv", reason="needs the compiled messages")

import rclpy
import rclpy.executors
import rclpy.node
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from node_probe import Probe, pixels_of
from node_with_test_segmenter import CAR, POISON_RED, ROAD, expected_panoptic
from patience import PATIENCE_S

import yoso_ros.ros.context
from yoso_ros.ros.caught import GuardedCallbacks
from yoso_ros.ros.segment_service import NOT_ACTIVE, SegmentService
from yoso_ros.srv import SegmentImage

pytestmark = pytest.mark.ros
NODE = Path(__file__).with_name("node_with_test_segmenter.py")
PICTURE = np.zeros((6, 10, 3), np.uint8)
PICTURE[:4, :5] = (255, 0, 0)
PICTURE[4:] = (0, 255, 0)


@pytest.fixture
def probe(ros_domain, start_process):
    start_process([sys.executable, NODE, "--ros-args", "-r", "image_raw:=/cam/image_raw"])
    probe = Probe()
    probe.connect()
    yield probe
    probe.close()


def ask(probe, image):
    return probe.call(SegmentImage, "segment_image", SegmentImage.Request(image=image))


def test_an_image_beside_the_camera_and_while_disabled(probe):
    blue = np.full((8, 8, 3), (0, 0, 255), np.uint8)
    for second, enabled in ((1, True), (2, False)):
        if enabled:
            probe.images.publish(probe.message(blue, 50))
        else:
            assert probe.set_parameter("enable", False).successful
        request = probe.message(PICTURE[..., ::-1], second, "bgr8")
        response = ask(probe, request)
        assert response.success and not response.message
        assert response.panoptic.header == response.segments.header == request.header
        assert (pixels_of(response.panoptic) == expected_panoptic(PICTURE)).all()
        # By area, largest first; 20 pixels each, so by id.
        assert sorted(s.class_id for s in response.segments.segments) == [ROAD, CAR]
        assert (response.segments.height, response.segments.width) == (6, 10)
    assert (pixels_of(probe.answers(50)["panoptic/image_raw"]) == 65535).all(), "the camera's frame was not disturbed"
    stats = probe.stats[-1]
    assert (stats.received, stats.processed) == (1, 1), "requests are no frames of a camera"
    assert not {1, 2} & probe.received["panoptic/image_raw"].keys(), "answers are not published"


def test_bad_images_and_an_inactive_node_are_named(probe):
    unknown = ask(probe, probe.message(PICTURE, 1, "hsv8"))
    assert not unknown.success and "hsv8" in unknown.message and not unknown.segments.segments
    poisoned = PICTURE.copy()
    poisoned[0, 0, 0] = POISON_RED
    assert "poisoned frame 42" in ask(probe, probe.message(poisoned, 2)).message
    assert ask(probe, probe.message(PICTURE, 3)).success
    change = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
    assert probe.call(ChangeState, "change_state", change).success
    inactive = ask(probe, probe.message(PICTURE, 4))
    assert not inactive.success and inactive.message == "the node is not active; activate it first"
    change.transition.id = Transition.TRANSITION_ACTIVATE
    assert probe.call(ChangeState, "change_state", change).success
    assert ask(probe, probe.message(PICTURE, 5)).success


class Server(GuardedCallbacks, rclpy.node.Node):
    """A node with the service and a timer; nothing works on what is delivered but the test."""

    def __init__(self):
        super().__init__("server")
        self.delivered, self.ticks, self.active = [], 0, True
        self.service = SegmentService(self, lambda request, source: self.delivered.append(request), lambda: self.active)
        self.create_timer(0.01, self._tick)

    def _tick(self):
        self.ticks += 1


def executors():
    """The one that the node's process takes, and the one it falls back to, in the same order in every process."""
    found = {yoso_ros.ros.context.SingleThreadedExecutor, rclpy.executors.SingleThreadedExecutor}
    return sorted(found, key=lambda executor: executor.__name__)


@pytest.mark.parametrize("make_executor", executors(), ids=lambda executor: executor.__name__)
def test_requests_wait_one_after_the_other_and_hold_nothing_up(ros_domain, make_executor):
    rclpy.init()
    server, asker = Server(), rclpy.create_node("asker")
    executor, ended = make_executor(), threading.Event()
    executor.add_node(server)

    def serve():
        while not ended.is_set():
            executor.spin_once(timeout_sec=0.1)

    def until(condition):
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline
            rclpy.spin_once(asker, timeout_sec=0.02)

    serving = threading.Thread(target=serve)
    serving.start()
    try:
        client = asker.create_client(SegmentImage, "/server/segment_image")
        assert client.wait_for_service(PATIENCE_S)
        # What `ros2 node info` lists.
        until(lambda: "/server/segment_image" in dict(asker.get_service_names_and_types_by_node("server", "/")))
        first, second, third = (client.call_async(SegmentImage.Request()) for _ in range(3))
        until(lambda: server.delivered)
        ticks = server.ticks
        until(lambda: server.ticks > ticks + 20)
        assert len(server.delivered) == 1 and not first.done(), "the others have to wait for their turn"
        server.service.finish(server.delivered[0], "no picture")
        until(first.done)
        assert first.result().message == "no picture" and not first.result().success
        until(lambda: len(server.delivered) == 2)
        assert not second.done()
        server.active = False
        fourth = client.call_async(SegmentImage.Request())
        until(fourth.done)
        assert fourth.result().message == NOT_ACTIVE and not second.done()
        server.service.refuse_waiting()
        until(lambda: second.done() and third.done())
        assert second.result().message == third.result().message == NOT_ACTIVE
        assert server.caught.count == 0 and len(server.delivered) == 2
    finally:
        ended.set()
        serving.join()
        executor.shutdown(timeout_sec=0)
        server.destroy_node()
        asker.destroy_node()
        rclpy.shutdown()
