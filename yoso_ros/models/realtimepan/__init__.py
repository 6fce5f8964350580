# SPDX-License-Identifier: Apache-2.0
"""RealTimePan: Real-Time Panoptic Segmentation from Dense Detections (CVPR 2020)."""
