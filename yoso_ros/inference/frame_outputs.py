# SPDX-License-Identifier: Apache-2.0
"""The outputs that can be requested for a frame in addition to its panoptic result."""

from typing import NamedTuple

import numpy as np

from yoso_ros.fusion import Instances
from yoso_ros.results import PanopticResult

TASKS = ("panoptic", "instance", "semantic")


class FrameOutputs(NamedTuple):
    """The requested outputs; the others are None.

    Attributes:
        panoptic: `PanopticResult`, the same as from calling the Segmenter.
        instances: `Instances`, things only.
        semantic: uint8 (H, W) class ids; every pixel has one.
        timings_ms: {"preprocess", "inference", "postprocess"}; the last covers all requested outputs.
    """

    panoptic: PanopticResult | None
    instances: Instances | None
    semantic: np.ndarray | None
    timings_ms: dict[str, float]
