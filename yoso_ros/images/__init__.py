# SPDX-License-Identifier: Apache-2.0
"""Camera images: message fields to RGB frames, and pictures of a segmentation for people. No ROS here."""
