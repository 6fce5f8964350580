# SPDX-License-Identifier: Apache-2.0
"""Metrics of panoptic segmentation, and the evaluation of a segmenter on a data set."""

from yoso_ros.evaluation.panoptic_quality import PanopticQuality

__all__ = ["PanopticQuality"]
