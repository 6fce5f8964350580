# SPDX-License-Identifier: Apache-2.0
"""One frame of a demonstration: the input and the node's answer."""

from dataclasses import dataclass

import numpy as np

from yoso_ros.bags import Frame
from yoso_ros.results import Segment


@dataclass(frozen=True, slots=True)
class Answer:
    """The node's answer to one frame.

    Attributes:
        index: index of the frame in the source, from 0. frame: the `Frame` that was sent.
        panoptic: uint16 (H, W). semantic: uint8 (H, W). overlay: uint8 (H, W, 3) RGB.
        segments: list of `Segment`.
        stages_ms: dict of float, milliseconds by stage as in ~/stats; NaN where unknown.
        latency_ms: from publishing the frame to receiving the last of its label topics.
        sent_s, received_s: steady clock, seconds.
    """

    index: int
    frame: Frame
    panoptic: np.ndarray
    semantic: np.ndarray
    overlay: np.ndarray
    segments: list[Segment]
    stages_ms: dict[str, float]
    latency_ms: float
    sent_s: float
    received_s: float
