# SPDX-License-Identifier: Apache-2.0
"""From a frame to a `PanopticResult`: preprocessing, engine and merge behind one class, without ROS."""

from yoso_ros.inference.segmenter import Segmenter, load_segmenter

__all__ = ["Segmenter", "load_segmenter"]
