# SPDX-License-Identifier: Apache-2.0
"""Metrics of panoptic, instance and semantic segmentation, and the evaluation of a segmenter on a data set."""

from yoso_ros.evaluation.average_precision import AveragePrecision
from yoso_ros.evaluation.evaluate import evaluate_segmenter
from yoso_ros.evaluation.mean_iou import MeanIoU
from yoso_ros.evaluation.panoptic_quality import PanopticQuality
from yoso_ros.evaluation.stored_predictions import evaluate_predictions

__all__ = ["AveragePrecision", "MeanIoU", "PanopticQuality", "evaluate_predictions", "evaluate_segmenter"]
