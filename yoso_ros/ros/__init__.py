# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 side: the node and what it needs. Only the modules that touch ROS import rclpy or message packages."""
