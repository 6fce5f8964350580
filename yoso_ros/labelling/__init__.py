# SPDX-License-Identifier: Apache-2.0
"""Select frames of recordings that are worth labelling, and pre-label them for a person to correct. Needs no ROS."""
