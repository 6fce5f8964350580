# SPDX-License-Identifier: Apache-2.0
"""Made-up outputs of a RealTimePan network: the benchmark's, for a small configuration."""

import dataclasses

from yoso_ros.benchmark.dense_masks import dense_box_scene
from yoso_ros.models import load_config

CONFIG = dataclasses.replace(
    load_config("realtimepan_mobilenetv2_synthetic"), location_score="iou", mask_threshold=0.4, stuff_area_limit=64
)


def scene(size, count, seed, config=CONFIG, levels=1):
    """As of `dense_box_scene`."""
    return dense_box_scene(size, count, seed, config, levels)
