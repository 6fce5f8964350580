# SPDX-License-Identifier: Apache-2.0
"""The node as a process, over DDS: what it publishes for good and for bad frames, and how it ends."""

import signal
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from patience import PATIENCE_S

from yoso_ros.results import UNLABELLED_ID

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")

from node_probe import FRAME_ID, Probe, pixels_of
from node_with_test_segmenter import CAR, POISON_RED, ROAD, expected_panoptic

from yoso_ros.ros.parameters import PARAMETERS

pytestmark = pytest.mark.ros
NODE = Path(__file__).with_name("node_with_test_segmenter.py")
REMAP = ["-r", "image_raw:=/cam/image_raw"]


@pytest.fixture
def start_node(ros_domain, start_process):
    def start(*ros_arguments, **environment):
        command = [sys.executable, NODE, "--ros-args", *REMAP, *ros_arguments]
        return start_process(command, environment=environment)

    return start


@pytest.fixture
def make_probe(ros_domain):
    probes = []

    def make(*arguments, **options):
        probes.append(Probe(*arguments, **options))
        return probes[-1]

    yield make
    for probe in probes:
        probe.close()


def picture(height=48, width=64, seed=0):
    """Blocks of red, green and other colours."""
    blocks = np.random.default_rng(seed).integers(20, 256, (height // 4 + 1, width // 4 + 1, 3), np.uint8)
    return blocks.repeat(4, axis=0).repeat(4, axis=1)[:height, :width]


def check_answers(answers, expected):
    """Headers, encodings, the id rule and the agreement of segments and map."""
    for message in answers.values():
        assert message.header.frame_id == FRAME_ID and message.header.stamp.nanosec == 7
    panoptic_message, semantic_message = answers["panoptic/image_raw"], answers["semantic/image_raw"]
    assert (panoptic_message.encoding, semantic_message.encoding) == ("mono16", "mono8")
    panoptic, semantic = pixels_of(panoptic_message), pixels_of(semantic_message)
    np.testing.assert_array_equal(panoptic, expected)
    np.testing.assert_array_equal(panoptic >> 8, semantic)
    segments = answers["panoptic/segments"]
    assert (segments.height, segments.width) == panoptic.shape
    ids, areas = np.unique(panoptic[panoptic != UNLABELLED_ID], return_counts=True)
    assert {s.id: s.area for s in segments.segments} == dict(zip(ids.tolist(), areas.tolist(), strict=True))
    for segment in segments.segments:
        y, x = np.nonzero(panoptic == segment.id)
        assert (segment.roi.x_offset, segment.roi.y_offset) == (x.min(), y.min())
        assert (segment.roi.width, segment.roi.height) == (np.ptp(x) + 1, np.ptp(y) + 1)
        assert segment.centroid.x == pytest.approx(x.mean(), abs=1e-3)
        assert segment.centroid.y == pytest.approx(y.mean(), abs=1e-3)
        name, is_thing = {CAR: ("car", True), ROAD: ("road", False)}[segment.class_id]
        assert (segment.class_name, segment.is_thing, segment.instance_id) == (name, is_thing, int(is_thing))


def test_frames_of_several_encodings_and_sizes(start_node, make_probe):
    start_node()
    probe = make_probe()
    probe.connect()
    rgb = picture()
    odd = picture(33, 71, seed=1)
    cases = [
        (rgb, "rgb8", rgb),
        (rgb[..., ::-1], "bgr8", rgb),
        (cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA), "bgra8", rgb),
        (rgb[..., 0], "mono8", rgb[..., :1].repeat(3, axis=2)),
        (odd, "rgb8", odd),
        (np.full((1, 1, 3), 255, np.uint8), "rgb8", np.full((1, 1, 3), 255, np.uint8)),
    ]
    for second, (pixels, encoding, frame) in enumerate(cases, start=1):
        probe.images.publish(probe.message(pixels, second, encoding))
        check_answers(probe.answers(second), expected_panoptic(frame))
    probe.until(lambda: len(probe.stats) == len(cases), "stats of every frame")
    stats = probe.stats[-1]
    assert (stats.received, stats.processed, stats.dropped, stats.failed) == (len(cases), len(cases), 0, 0)
    assert stats.backend == "test-auto-auto" and np.isnan(stats.age_ms)
    stages = stats.queue_ms + stats.preprocess_ms + stats.inference_ms + stats.postprocess_ms + stats.publish_ms
    assert stages == pytest.approx(stats.latency_ms, abs=1.0)


def test_bad_frames_are_counted_and_the_next_good_one_comes_out_right(start_node, make_probe):
    node = start_node()
    probe = make_probe()
    probe.connect()
    rgb = picture()
    poisoned = np.full_like(rgb, POISON_RED)
    bad = [
        probe.message(rgb, 1, encoding="no_such_encoding"),
        probe.message(rgb, 2, data=probe.message(rgb, 2).data[:100]),
        probe.message(rgb, 3, height=0, data=probe.message(rgb, 3).data[:0]),
        probe.message(rgb, 4, step=5),
        probe.message(poisoned, 5),
        probe.message(rgb, 6, encoding="no_such_encoding"),
    ]
    for count, message in enumerate(bad, start=1):
        probe.images.publish(message)
        probe.until(lambda count=count: probe.stats and probe.stats[-1].failed == count, f"{count} failed frames")
    probe.images.publish(probe.message(rgb, 10))
    check_answers(probe.answers(10), expected_panoptic(rgb))
    for name, messages in probe.received.items():
        assert list(messages) == [10], f"{name} answered a bad frame"
    probe.until(lambda: probe.stats[-1].processed == 1, "stats of the good frame")
    assert (probe.stats[-1].received, probe.stats[-1].failed) == (7, 6)
    assert node.output().count("no_such_encoding") == 1, "a cause is logged once"
    assert node.output().count("poisoned frame") == 1

    def health():
        status = probe.diagnostics[-1].status[0]
        return {"message": status.message, **{item.key: item.value for item in status.values}}

    probe.until(lambda: probe.diagnostics and health()["failed"] == "6", "failures in the diagnostics")
    assert "no_such_encoding" in health()["last failure"]
    assert (health()["engine"], health()["device"], health()["precision"]) == ("test", "auto", "auto")
    assert health()["state"] == "active" and float(health()["memory (MB)"]) > 10


def test_only_the_latest_frame_waits_and_the_others_count_as_dropped(start_node, make_probe):
    start_node(YOSO_TEST_DELAY_S="1.0")
    probe = make_probe()
    probe.connect()
    rgb = picture()
    probe.images.publish(probe.message(rgb, 1))
    probe.spin(0.2)
    for second in range(2, 8):
        probe.images.publish(probe.message(rgb, second))
        probe.spin(0.1)
    probe.answers(7)
    probe.until(lambda: len(probe.stats) == 2, "stats of both frames")
    assert sorted(probe.received["panoptic/image_raw"]) == [1, 7]
    last = probe.stats[-1]
    # On a busy machine DDS may replace a frame before the node has seen it.
    assert 5 <= last.received <= 7
    assert (last.processed, last.dropped, last.failed) == (2, last.received - 2, 0)
    assert last.inference_ms >= 1000 and last.latency_ms == pytest.approx(last.inference_ms + last.queue_ms, abs=100)


def test_age_is_known_for_stamps_of_this_clock(start_node, make_probe):
    start_node()
    probe = make_probe()
    probe.connect()
    message = probe.message(picture(), 0)
    message.header.stamp = probe.node.get_clock().now().to_msg()
    probe.images.publish(message)
    probe.until(lambda: probe.stats, "stats")
    assert 0 < probe.stats[0].age_ms < 3000 and probe.stats[0].header == message.header


def test_pictures_are_made_for_subscribers_and_camera_info_follows(start_node, make_probe):
    from sensor_msgs.msg import CameraInfo, Image

    wanted = dict.fromkeys(("confidence/image_raw", "overlay/image_raw", "color/image_raw", "mask/image_raw"), Image)
    wanted |= {"panoptic/camera_info": CameraInfo, "semantic/camera_info": CameraInfo}
    start_node("-p", "mask_classes:=[car]", "-p", "overlay_alpha:=1.0")
    probe = make_probe(wanted)
    probe.connect()
    rgb = picture()
    expected = expected_panoptic(rgb)
    info = probe.stamp(CameraInfo(height=48, width=64, distortion_model="plumb_bob", k=[float(i) for i in range(9)]), 1)
    probe.infos.publish(info)
    probe.spin(0.3)
    probe.images.publish(probe.message(rgb, 1))
    answers = probe.answers(1)
    check_answers(answers, expected)
    assert answers["panoptic/camera_info"] == info == answers["semantic/camera_info"]
    np.testing.assert_array_equal(pixels_of(answers["mask/image_raw"]), np.where(expected >> 8 == CAR, 255, 0))
    np.testing.assert_array_equal(
        pixels_of(answers["confidence/image_raw"]), np.where(expected == UNLABELLED_ID, 0, 200)
    )
    assert (pixels_of(answers["color/image_raw"])[expected == ROAD << 8] == (128, 64, 128)).all()
    assert pixels_of(answers["overlay/image_raw"]).shape == rgb.shape
    # A frame without an info of its own gets the latest one under its own header.
    probe.images.publish(probe.message(rgb, 2))
    late = probe.answers(2)["panoptic/camera_info"]
    assert list(late.k) == list(info.k) and late.header.stamp.sec == 2


def test_label_info_and_detections(start_node, make_probe):
    vision_msgs = pytest.importorskip("vision_msgs.msg", reason="needs the package vision_msgs")
    from rclpy.qos import DurabilityPolicy, QoSProfile

    start_node("-p", "label_info_period_s:=0.5")
    probe = make_probe({"detections": vision_msgs.Detection2DArray})
    probe.connect()
    infos = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    probe.node.create_subscription(vision_msgs.LabelInfo, "/yoso/semantic/label_info", infos.append, latched)
    probe.until(lambda: len(infos) >= 3, "the label info at once and again")
    assert infos[0].class_map[CAR].class_name == "car"
    probe.images.publish(probe.message(picture(), 1))
    answers = probe.answers(1)
    (car,) = answers["detections"].detections
    (segment,) = (s for s in answers["panoptic/segments"].segments if s.is_thing)
    assert car.id == str(segment.id) and car.bbox.size_x == segment.roi.width


def test_a_named_camera_has_its_own_topics(start_node, make_probe):
    from sensor_msgs.msg import Image

    start_node("-p", "cameras:=[front]", "-r", "front/image_raw:=/cam/image_raw")
    probe = make_probe({"front/panoptic/image_raw": Image}, defaults=False)
    probe.connect()
    probe.images.publish(probe.message(picture(), 1))
    message = probe.answers(1)["front/panoptic/image_raw"]
    np.testing.assert_array_equal(pixels_of(message), expected_panoptic(picture()))


def test_compressed_images(start_node, make_probe):
    from sensor_msgs.msg import CompressedImage

    start_node("-p", "image_transport:=compressed")
    probe = make_probe(image_type=CompressedImage, image_topic="/cam/image_raw/compressed")
    probe.connect()
    rgb = picture()
    data = cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()
    for second, bytes_kept in ((1, 100), (2, len(data))):
        message = CompressedImage(format="bgr8; png compressed bgr8", data=data[:bytes_kept])
        probe.images.publish(probe.stamp(message, second))
        probe.until(lambda second=second: len(probe.stats) == second, "stats")
    check_answers(probe.answers(2), expected_panoptic(rgb))
    assert probe.stats[-1].failed == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_cleanly(start_node, make_probe, number):
    node = start_node(YOSO_TEST_DELAY_S="0.3")
    probe = make_probe()
    probe.connect()
    probe.images.publish(probe.message(picture(), 1))
    probe.spin(0.1)  # so that a frame is in work
    node._process.send_signal(number)
    assert node.wait(PATIENCE_S) == 0
    assert "Traceback" not in node.output() and "rror" not in node.output()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["model:=missing"], "found 'missing'"),
        (["score_threshold:=1.5"], "0 to 1"),
        (["score_threshold:=high"], "number"),
        (["engine:=magic"], "openvino"),
        (["mask_classes:=[unicorn]"], "pedestrian"),
        (["cameras:=[front, front]"], "front, front"),
        (["cameras:=[front, 2nd]"], "2nd"),
        (["force_rebuild:=true"], "force_rebuild"),
        (["engine_path:=a.engine"], "engine_path: expected together with engine:=tensorrt, found engine:=auto"),
        (["warmup_frame_size:=640x"], "warmup_frame_size: expected HxW such as 480x640, found '640x'"),
    ],
)
def test_a_start_that_cannot_work_ends_with_one_line_and_code_2(start_node, arguments, said):
    node = start_node(*(word for argument in arguments for word in ("-p", argument)))
    assert node.wait(PATIENCE_S) == 2
    assert len(node.output().strip().splitlines()) == 1 and said in node.output()


@pytest.mark.parametrize("arguments", [["--params-file", "/no/such/file.yaml"], ["--no-such-option"], ["-p", "model"]])
def test_arguments_that_ros_cannot_read_are_one_line_and_code_2(start_node, arguments):
    node = start_node(*arguments)
    assert node.wait(PATIENCE_S) == 2
    # A line of ROS' own may come before ours.
    assert "Traceback" not in node.output() and arguments[-1] in node.output().strip().splitlines()[-1]


def test_help_names_every_parameter(start_process):
    node = start_process([sys.executable, NODE, "--help"])
    assert node.wait(PATIENCE_S) == 0
    assert all(f" {parameter.name} [" in node.output() for parameter in PARAMETERS)
