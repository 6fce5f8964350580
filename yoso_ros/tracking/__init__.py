# SPDX-License-Identifier: Apache-2.0
"""Stable ids of segments across the frames of one camera. Needs only numpy."""

from yoso_ros.tracking.tracker import FIRST_THING_TRACK, SegmentTracker, stuff_track

__all__ = ["FIRST_THING_TRACK", "SegmentTracker", "stuff_track"]
