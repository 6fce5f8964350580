# SPDX-License-Identifier: Apache-2.0
"""What a demonstration leaves behind: overlay video, contact sheet, segments table and summary. No ROS here."""
