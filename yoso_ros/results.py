# SPDX-License-Identifier: Apache-2.0
"""What a segmentation is: one id per pixel, the list of segments, and the id rule that binds them.

Legend: `H W` size of the input frame in pixels; x to the right, y down, origin at the top-left pixel.
"""

from dataclasses import dataclass, field

import numpy as np

UNLABELLED_CLASS = 255
UNLABELLED_ID = 65535
MAX_INSTANCES = 255  # instances per class and frame that the id rule can name


def panoptic_id(class_id, instance_id):
    """The id rule: `class_id << 8 | instance_id`; stuff has instance 0, things 1..255. Works on ints and arrays."""
    return (class_id << 8) | instance_id


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of a frame. `score` 0..1; `area` in pixels; `box_xywh` tight, integer pixels; `centroid_xy` pixel centres."""

    id: int
    class_id: int
    class_name: str
    is_thing: bool
    instance_id: int
    score: float
    area: int
    box_xywh: tuple[int, int, int, int]
    centroid_xy: tuple[float, float]


@dataclass(frozen=True, slots=True)
class PanopticResult:
    """Panoptic segmentation of one frame; `panoptic >> 8 == semantic` holds on every pixel.

    Attributes:
        panoptic: uint16 (H, W), `class_id << 8 | instance_id`, 65535 = unlabelled.
        semantic: uint8 (H, W), class id, 255 = unlabelled.
        confidence: uint8 (H, W), 255 * probability of the winning segment at the pixel (class score times mask
            probability), at least 1 on labelled pixels, 0 = unlabelled.
        segments: list of `Segment`, by area, largest first, one per distinct id except 65535.
        timings_ms: {"preprocess", "inference", "postprocess"}; disjoint, they add up to the call.
    """

    panoptic: np.ndarray
    semantic: np.ndarray
    confidence: np.ndarray
    segments: list[Segment]
    timings_ms: dict[str, float] = field(default_factory=dict)
