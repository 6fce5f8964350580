# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 side: the node and what it needs. Only the modules that touch ROS import rclpy or message packages."""

from yoso_ros.ros.memory import share_arena

share_arena()  # here, because rclpy and numpy start threads when they are imported
