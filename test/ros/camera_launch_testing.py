# SPDX-License-Identifier: Apache-2.0
"""camera.launch.py for real, by `launch_test` or `colcon test`: the scene is answered, and all ends cleanly."""

import time
import unittest

import launch_testing.actions
import launch_testing.asserts
import rclpy
from ament_index_python.packages import get_package_share_directory
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from sensor_msgs.msg import Image

from launch import LaunchDescription

LIMIT_S = 240.0  # importing torch is most of it
ARGUMENTS = {"source": "synthetic", "namespace": "tested", "input_image_topic": "cam/image_raw", "engine": "torch"}


def generate_test_description():
    """The launch file under test; the tests begin at once."""
    path = get_package_share_directory("yoso_ros") + "/launch/camera.launch.py"
    source = PythonLaunchDescriptionSource(path)
    included = IncludeLaunchDescription(source, launch_arguments=ARGUMENTS.items())
    return LaunchDescription([included, launch_testing.actions.ReadyToTest()])


class TestAnswers(unittest.TestCase):
    """While the launch file runs."""

    def test_label_images_answer_the_scene(self):
        rclpy.init()
        node = rclpy.create_node("listener")
        images, labels = [], []
        try:
            node.create_subscription(Image, "/tested/cam/image_raw", images.append, 1)
            node.create_subscription(Image, "/tested/yoso/panoptic/image_raw", labels.append, 1)
            end = time.monotonic() + LIMIT_S
            while not (labels and images) and time.monotonic() < end:
                rclpy.spin_once(node, timeout_sec=0.1)
        finally:
            node.destroy_node()
            rclpy.shutdown()
        self.assertTrue(images, "the source publishes nothing")
        self.assertTrue(labels, "the node answers nothing")
        self.assertEqual(labels[0].encoding, "mono16")
        self.assertEqual((labels[0].height, labels[0].width), (images[0].height, images[0].width))


@launch_testing.post_shutdown_test()
class TestEnd(unittest.TestCase):
    """After Ctrl-C."""

    def test_processes_end_as_asked(self, proc_info):
        launch_testing.asserts.assertExitCodes(proc_info)
