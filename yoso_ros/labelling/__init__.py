# SPDX-License-Identifier: Apache-2.0
"""From recordings to frames worth labelling, and from frames to labels that a person corrects. No ROS is needed."""
