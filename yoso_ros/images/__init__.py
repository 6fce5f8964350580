# SPDX-License-Identifier: Apache-2.0
"""Camera images: message fields to RGB frames, and visualisations of a segmentation. No ROS here."""
