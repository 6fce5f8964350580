# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 side: the nodes and their parts. Only the modules that touch ROS import rclpy or message packages."""

from yoso_ros.ros.memory import share_arena

share_arena()  # set here, because rclpy and numpy start threads on import
