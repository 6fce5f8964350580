# SPDX-License-Identifier: Apache-2.0
"""What a frame can be asked for beside its panoptic result."""

from typing import NamedTuple

import numpy as np

from yoso_ros.fusion import Instances
from yoso_ros.results import PanopticResult

TASKS = ("panoptic", "instance", "semantic")


class FrameOutputs(NamedTuple):
    """What was asked for; the rest is None.

    Attributes:
        panoptic: `PanopticResult`, the one that the Segmenter gives.
        instances: `Instances`, things only.
        semantic: uint8 (H, W) class ids; every pixel has one.
        timings_ms: {"preprocess", "inference", "postprocess"}; the last is of everything that was asked for.
    """

    panoptic: PanopticResult | None
    instances: Instances | None
    semantic: np.ndarray | None
    timings_ms: dict[str, float]
