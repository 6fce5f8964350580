# SPDX-License-Identifier: Apache-2.0
"""Depth images, camera models and labelled point clouds, from message fields and arrays. No ROS here."""
