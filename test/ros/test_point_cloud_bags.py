# SPDX-License-Identifier: Apache-2.0
"""Labelled clouds from real recordings: an RGB-D camera through both nodes over DDS, and a lidar beside a camera."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest
from patience import PATIENCE_S

from yoso_ros.stamps import message_stamp_ns

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("yoso_ros.msg", reason="needs the compiled messages")

import rclpy
from node_with_test_segmenter import expected_panoptic
from rclpy.qos import QoSProfile
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import Image, PointCloud2

from yoso_ros.bags import open_source
from yoso_ros.geometry.camera_model import CameraModel
from yoso_ros.geometry.depth import decode_depth
from yoso_ros.geometry.point_cloud import POINT, cloud_from_depth, cloud_from_points, rotation_matrix
from yoso_ros.images.decoding import decode_compressed
from yoso_ros.ros.point_cloud_messages import read_points
from yoso_ros.ros.runs.playback import FramePublisher, frame_header, picture_message

NODE = Path(__file__).with_name("node_with_test_segmenter.py")
DEPTH_TOPIC = "/camera/aligned_depth_to_color/image_raw"
FRAMES = 4
RESEND_S = 5.0


def messages(bag, topic, count=1):
    """The first messages of a topic."""
    with AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        connections = [c for c in reader.connections if c.topic == topic]
        found = [reader.deserialize(data, c.msgtype) for c, _, data in reader.messages(connections)]
    return found[:count]


@pytest.mark.ros
def test_rgbd_recording_through_both_nodes(shared_data, ros_domain, start_process):
    bag = shared_data / "data/bags/rgbd_office_mcap"
    frames = [frame for frame, _ in zip(open_source(bag), range(FRAMES), strict=False)]
    depths = messages(bag, DEPTH_TOPIC, FRAMES)
    start_process([sys.executable, NODE, "--ros-args", "-p", "image_transport:=compressed"])
    remap = ["-r", "depth/image_raw:=/depth", "-p", "use_color:=false", "-p", "organized:=true"]
    start_process([sys.executable, "-m", "yoso_ros.ros.point_cloud_node", "--ros-args", *remap])
    rclpy.init()
    node, clouds = rclpy.create_node("camera"), {}
    try:
        colour = FramePublisher(node, "compressed")
        depth_publisher = node.create_publisher(Image, "/depth", QoSProfile(depth=5))
        node.create_subscription(PointCloud2, "/yoso/points", lambda m: clouds.update({message_stamp_ns(m): m}), 10)

        def spin_until(condition, seconds):
            deadline = time.monotonic() + seconds
            while not condition() and time.monotonic() < deadline:
                rclpy.spin_once(node, timeout_sec=0.05)
            return condition()

        def sent(frame, depth):
            depth_publisher.publish(picture_message(depth, frame_header(frame)))
            colour.publish(frame)
            return spin_until(lambda: frame.stamp_ns in clouds, RESEND_S)

        spin_until(lambda: colour.subscription_count and depth_publisher.get_subscription_count(), PATIENCE_S)
        for frame, depth in zip(frames, depths, strict=True):
            assert message_stamp_ns(depth) == frame.stamp_ns, "the depth of this recording has the stamps of the colour"
            deadline = time.monotonic() + PATIENCE_S
            # Lost until all three processes know each other, and the calibration may come after the first frame.
            while not sent(frame, depth):
                assert time.monotonic() < deadline, f"no cloud within {PATIENCE_S} s"
    finally:
        node.destroy_node()
        rclpy.shutdown()
    for frame, depth in zip(frames, depths, strict=True):
        info = messages(bag, "/camera/color/camera_info")[0]
        panoptic = expected_panoptic(decode_compressed(frame.image))
        expected = cloud_from_depth(decode_depth(depth), CameraModel(info).rays(), panoptic)
        message = clouds[frame.stamp_ns]
        assert (message.height, message.width) == (480, 640)
        found = np.frombuffer(message.data, POINT).reshape(480, 640)
        np.testing.assert_array_equal(found.view(np.uint8), expected.view(np.uint8))
        # An office: most pixels have a depth, all of it within a room.
        known = np.isfinite(found["z"])
        assert known.mean() > 0.6 and 0.3 < np.median(found["z"][known]) < 5


def test_lidar_recording_against_single_points(shared_data):
    bag = shared_data / "data/bags/kitti_drive_mcap"
    (points,), (info,) = messages(bag, "/points"), messages(bag, "/camera_info")
    transform = messages(bag, "/tf_static")[0].transforms[0]
    assert (transform.header.frame_id, transform.child_frame_id) == ("velodyne", "camera_link_optical")
    shift, turn = transform.transform.translation, transform.transform.rotation
    rotation = rotation_matrix(turn.x, turn.y, turn.z, turn.w)
    translation = np.array([shift.x, shift.y, shift.z])
    # Every pixel has an id of its own, as far as 16 bits go.
    panoptic = (np.arange(info.height * info.width) % 65535).astype(np.uint16).reshape(info.height, info.width)
    xyz = read_points(points)
    assert xyz.shape == (points.width, 3) and np.isfinite(xyz).all()
    cloud = cloud_from_points(xyz, (rotation, translation), CameraModel(info), panoptic)
    fx, _, cx, _, fy, cy = np.array(info.k)[:6]
    seen = unsure = 0
    for index in range(0, len(xyz), 37):
        x, y, z = rotation.T @ (xyz[index].astype(float) - translation)
        expected, sure = 65535, True
        if z > 1e-3:
            u, v = fx * x / z + cx, fy * y / z + cy
            sure = abs(u % 1 - 0.5) > 0.01 and abs(v % 1 - 0.5) > 0.01
            if -0.5 < u < info.width - 0.5 and -0.5 < v < info.height - 0.5:
                expected = int(panoptic[round(v), round(u)])
                seen += 1
        unsure += not sure
        if sure:
            assert int(cloud["label"][index]) << 8 | int(cloud["instance"][index]) == expected, index
    # The camera sees a seventh of the circle that the lidar sweeps.
    assert 300 < seen < 700 and unsure < 100
