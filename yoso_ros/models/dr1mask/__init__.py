# SPDX-License-Identifier: Apache-2.0
"""DR1Mask: Unifying Instance and Panoptic Segmentation with Dynamic Rank-1 Convolutions (2020)."""
