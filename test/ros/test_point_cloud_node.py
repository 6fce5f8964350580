# SPDX-License-Identifier: Apache-2.0
"""The point cloud node as a process, over DDS: depth and lidar, messages out of order, bad ones, and its end."""

import array
import struct
import sys

import numpy as np
import pytest
from patience import PATIENCE_S

from yoso_ros.results import UNLABELLED_ID

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

import rclpy
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

from yoso_ros.errors import InputError
from yoso_ros.geometry.point_cloud import POINT
from yoso_ros.ros.messages import image_message
from yoso_ros.ros.point_cloud_messages import cloud_message, read_points

pytestmark = pytest.mark.ros
H, W = 12, 16
K = [10.0, 0.0, 7.5, 0.0, 10.0, 5.5, 0.0, 0.0, 1.0]
PANOPTIC = np.arange(H * W, dtype=np.uint16).reshape(H, W) * 300 % 65535
COLOR = np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8)


class Robot:
    """Publishes the inputs of the node and keeps its clouds."""

    def __init__(self):
        from std_msgs.msg import Header

        rclpy.init()
        self.node, self.clouds, self._header = rclpy.create_node("robot"), [], Header
        qos = QoSProfile(depth=10)
        self.publishers = {
            name: self.node.create_publisher(kind, f"/{name}", qos)
            for name, kind in {
                "depth": Image,
                "lidar": PointCloud2,
                "yoso/panoptic/image_raw": Image,
                "yoso/color/image_raw": Image,
                "yoso/panoptic/camera_info": CameraInfo,
            }.items()
        }
        self.node.create_subscription(PointCloud2, "/yoso/points", self.clouds.append, qos)

    def header(self, second, frame="camera"):
        header = self._header(frame_id=frame)
        header.stamp.sec = second
        return header

    def connect(self, *names):
        self.until(lambda: all(self.publishers[name].get_subscription_count() for name in names))
        self.until(lambda: self.node.count_publishers("/yoso/points"))
        self.spin(0.3)
        info = CameraInfo(header=self.header(1), height=H, width=W, k=K, distortion_model="plumb_bob")
        self.send("yoso/panoptic/camera_info", info)
        self.spin(0.3)

    def send(self, name, message):
        self.publishers[name].publish(message)

    def send_labels(self, second):
        self.send("yoso/panoptic/image_raw", image_message(PANOPTIC, self.header(second)))
        self.send("yoso/color/image_raw", image_message(COLOR, self.header(second)))

    def send_depth(self, pixels, second, encoding="16UC1"):
        message = Image(header=self.header(second, "depth_optical"), height=pixels.shape[0], width=pixels.shape[1])
        message.encoding, message.step = encoding, pixels.strides[0]
        message.data = array.array("B", pixels.tobytes())
        self.send("depth", message)

    def until(self, condition, seconds=PATIENCE_S):
        end = self.node.get_clock().now().nanoseconds + seconds * 1e9
        while not condition():
            assert self.node.get_clock().now().nanoseconds < end, f"not within {seconds} s"
            rclpy.spin_once(self.node, timeout_sec=0.05)

    def spin(self, seconds):
        end = self.node.get_clock().now().nanoseconds + seconds * 1e9
        while self.node.get_clock().now().nanoseconds < end:
            rclpy.spin_once(self.node, timeout_sec=0.02)


@pytest.fixture
def start_node(ros_domain, start_process):
    def start(*words):
        arguments = ["--ros-args", "-r", "depth/image_raw:=/depth", "-r", "lidar/points:=/lidar", *words]
        return start_process([sys.executable, "-m", "yoso_ros.ros.point_cloud_node", *arguments])

    return start


@pytest.fixture
def robot(ros_domain):
    robot = Robot()
    yield robot
    robot.node.destroy_node()
    rclpy.shutdown()


def points_of(message):
    """Array of POINT of a cloud, read by the fields that the message names."""
    offsets = {field.name: (field.offset, field.datatype) for field in message.fields}
    kinds = {"x": "f", "y": "f", "z": "f", "rgb": "I", "label": "H", "instance": "H"}
    cloud = np.zeros(message.height * message.width, POINT)
    for i in range(cloud.size):
        for name, (offset, _) in offsets.items():
            (cloud[name][i],) = struct.unpack_from(f"={kinds[name]}", message.data, i * message.point_step + offset)
    return cloud.reshape(message.height, message.width) if message.height > 1 else cloud


def test_depth_to_an_organized_cloud_and_a_bad_depth_between(start_node, robot):
    node = start_node("-p", "organized:=true")
    robot.connect("depth", "yoso/panoptic/image_raw", "yoso/color/image_raw", "yoso/panoptic/camera_info")
    depth = np.full((H, W), 2000, np.uint16)
    depth[3, 4] = 0
    robot.send_depth(depth, 5)  # the labels come later, as from a network
    robot.send_depth(depth[:6], 6)  # of another size
    robot.send_depth(depth.astype(np.float32) / 1000, 7, "32FC1")
    for second in (5, 6, 7):
        robot.send_labels(second)
        robot.spin(0.2)
    robot.until(lambda: len(robot.clouds) == 2)
    for message, second in zip(robot.clouds, (5, 7), strict=True):
        assert (message.header.stamp.sec, message.header.frame_id) == (second, "depth_optical")
        assert (message.height, message.width, message.is_dense) == (H, W, False)
        cloud = points_of(message)
        assert np.isnan([cloud[n][3, 4] for n in "xyz"]).all() and np.isnan(cloud["z"]).sum() == 1
        row, column = 10, 2
        expected = ((column - 7.5) / 10 * 2, (row - 5.5) / 10 * 2, 2)
        assert tuple(cloud[n][row, column] for n in "xyz") == pytest.approx(expected)
        np.testing.assert_array_equal(cloud["label"].astype(np.uint16) << 8 | cloud["instance"], PANOPTIC)
        np.testing.assert_array_equal(cloud["rgb"] >> 16, COLOR[..., 0])
        np.testing.assert_array_equal(cloud["rgb"] & 0xFF, COLOR[..., 2])
    assert node.output().count("16x6") == 1 and node.stop() == 0 and "Traceback" not in node.output()


def mounting_of_lidar_and_camera():
    """Both on a base, as a robot's description has it: the lidar 2 m above it, the camera 1 m before the lidar."""
    from geometry_msgs.msg import TransformStamped

    lidar, camera = TransformStamped(child_frame_id="lidar"), TransformStamped(child_frame_id="camera")
    lidar.header.frame_id = camera.header.frame_id = "base"
    lidar.transform.translation.z = camera.transform.translation.z = 2.0
    camera.transform.translation.x = 1.0
    rotation = camera.transform.rotation
    rotation.x, rotation.y, rotation.z, rotation.w = -0.5, 0.5, -0.5, 0.5
    return [lidar, camera]


@pytest.mark.parametrize("pose_from", ["parameter", "TF"])
def test_lidar_with_stamps_that_differ(start_node, robot, pose_from):
    # The lidar looks along its x, the camera sits 1 m before it and looks the same way.
    arguments = ["-p", "source:=lidar", "-p", "use_color:=false", "-p", "sync_tolerance_s:=1.5"]
    if pose_from == "parameter":
        arguments += ["-p", "camera_in_lidar:=[1.0, 0.0, 0.0, -0.5, 0.5, -0.5, 0.5]"]
    else:
        tf2_ros = pytest.importorskip("tf2_ros", reason="needs tf2_ros, which comes with a ROS installation")
        broadcaster = tf2_ros.StaticTransformBroadcaster(robot.node)
        broadcaster.sendTransform(mounting_of_lidar_and_camera())
    start_node(*arguments)
    robot.connect("lidar", "yoso/panoptic/image_raw", "yoso/panoptic/camera_info")
    points = np.zeros(5, POINT)
    # In view: straight ahead, and 1 m to the left at 2 m from the camera. Out of view: behind, above, nothing there.
    points["x"], points["y"], points["z"] = np.array(
        [[3, -0.1, 0.1], [3, 1, 0], [-3, 0, 0], [3, 0, 9], [np.nan] * 3], np.float32
    ).T
    robot.send("lidar", cloud_message(points, robot.header(8, "lidar")))
    robot.send_labels(7)
    robot.spin(0.2)
    robot.send_labels(10)
    robot.until(lambda: robot.clouds)
    (message,) = robot.clouds
    assert (message.header.stamp.sec, message.header.frame_id, message.height) == (8, "lidar", 1)
    cloud = points_of(message)
    assert [(p["x"], p["y"]) for p in cloud] == [(3, pytest.approx(-0.1)), (3, 1)]
    ids = cloud["label"].astype(int) << 8 | cloud["instance"]
    # Columns 7.5 + 10 * 0.05 and 7.5 - 10 * 0.5 (2.5 to even 2), rows 5.5 - 10 * 0.05 and 5.5 (to even 6).
    assert ids.tolist() == [PANOPTIC[5, 8], PANOPTIC[6, 2]] and not cloud["rgb"].any()
    assert UNLABELLED_ID not in ids


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ("source:=radar", "depth, lidar"),
        ("queue_size:=0", "1 to 1000"),
        ("camera_in_lidar:=[1.0, 2.0]", "7 numbers"),
        ("camera_in_lidar:=[0, 0, 0, 0, 0, 0, 0]", "quaternion"),
    ],
)
def test_a_start_that_cannot_work_ends_with_one_line_and_code_2(start_node, parameter, said):
    node = start_node("-p", parameter)
    assert node.wait(PATIENCE_S) == 2
    assert len(node.output().strip().splitlines()) == 1 and said in node.output()


def test_points_of_other_layouts():
    """Padding between fields and rows, float64, big-endian: as the field list says, whatever it is."""
    values = np.arange(18, dtype=np.float64).reshape(6, 3)
    data = b""
    for row in range(2):
        for x, y, z in values[3 * row : 3 * row + 3]:
            data += struct.pack(">Bxxxfdf", 9, z, x, y) + b"pad"
        data += b"row pad"
    fields = [("intensity", 0, PointField.UINT8), ("z", 4, PointField.FLOAT32)]
    fields += [("x", 8, PointField.FLOAT64), ("y", 16, PointField.FLOAT32)]
    message = PointCloud2(height=2, width=3, point_step=23, row_step=76, is_bigendian=True)
    message.fields = [PointField(name=n, offset=o, datatype=t, count=1) for n, o, t in fields]
    message.data = array.array("B", data)
    np.testing.assert_array_equal(read_points(message), values)
    message.fields = message.fields[:2]
    with pytest.raises(InputError, match="x, y, z"):
        read_points(message)


def test_agreement_with_sensor_msgs_py():
    point_cloud2 = pytest.importorskip("sensor_msgs_py.point_cloud2", reason="needs sensor_msgs_py")
    from std_msgs.msg import Header

    cloud = np.zeros((3, 4), POINT)
    for number, name in enumerate(POINT.names):
        cloud[name] = np.arange(12).reshape(3, 4) + 100 * number
    message = cloud_message(cloud, Header(frame_id="camera"))
    theirs = point_cloud2.read_points(message, skip_nans=False)
    for name in ("x", "y", "z", "label", "instance"):
        np.testing.assert_array_equal(theirs[name].ravel(), cloud[name].ravel())
    assert theirs["rgb"].astype(np.float32).tobytes() == cloud["rgb"].tobytes(), "the bits of the float are the colour"
    points = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    np.testing.assert_array_equal(read_points(point_cloud2.create_cloud_xyz32(Header(), points)), points)
