# SPDX-License-Identifier: Apache-2.0
"""The way of frames through an engine with preprocessing and merge on the host, or wherever the outputs are.

Legend: `B` frames.
"""

import time
from typing import Any, NamedTuple

from yoso_ros.fusion import find_fusion
from yoso_ros.inference.finite import are_finite, not_finite_error
from yoso_ros.inference.preprocess import network_input
from yoso_ros.results import PanopticResult, panoptic_result

STAGES = ("preprocess", "inference", "postprocess")


class Pass(NamedTuple):
    """What one forward pass left.

    Attributes:
        results: `PanopticResult` of each frame, without timings; None where they were not asked for.
        outputs: of each frame the network's `Outputs` of one image and its (height, width) in the network's input;
            valid until the next pass.
        spent_ms: of all frames together, by stage; disjoint, they add up to the call.
    """

    results: list[PanopticResult] | None
    outputs: list[tuple[Any, tuple[int, int]]]
    spent_ms: dict[str, float]


class HostPath:
    """Frames to results by any engine.

    Args:
        config: model configuration.
        engine: see `yoso_ros.inference.engines`.
    """

    def __init__(self, config, engine):
        self._engine, self._fusion = engine, find_fusion(config.architecture)

    def __call__(self, frames, config, merge=True):
        """Run frames in one pass.

        Args:
            frames: list of uint8 (H, W, 3) RGB.
            config: configuration with the present thresholds.
            merge: whether to make panoptic results.

        Returns:
            `Pass`.

        Raises:
            InputError: outputs of the network are not finite.
        """
        clock = [time.perf_counter()]
        images, sizes = network_input(frames, config, self._engine.size_divisor)
        clock.append(time.perf_counter())
        batch = self._engine(images)
        self._engine.synchronize()
        clock.append(time.perf_counter())
        if not are_finite(batch):
            raise not_finite_error(self._engine.backend)
        outputs = [(type(batch)(*tensors), size) for *tensors, size in zip(*batch, sizes, strict=True)]
        results = None
        if merge:
            results = [
                panoptic_result(self._fusion.merge(raw, size, frame.shape[:2], config), config.label_set)
                for (raw, size), frame in zip(outputs, frames, strict=True)
            ]
        clock.append(time.perf_counter())
        spent = [1e3 * (end - start) for start, end in zip(clock, clock[1:], strict=False)]
        return Pass(results, outputs, dict(zip(STAGES, spent, strict=True)))
