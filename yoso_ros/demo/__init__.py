# SPDX-License-Identifier: Apache-2.0
"""The output of a demonstration: overlay video, contact sheet, segments table and summary. No ROS here."""
