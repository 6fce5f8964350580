# SPDX-License-Identifier: Apache-2.0
"""The path of frames through an engine with preprocessing and merge on the host, or wherever the outputs are."""

import time

from yoso_ros.fusion import find_fusion
from yoso_ros.inference.finite import are_finite, not_finite_error
from yoso_ros.inference.preprocess import network_input
from yoso_ros.inference.stages import Prepared, inferred_frames
from yoso_ros.results import panoptic_result


class HostPath:
    """Frames to results with any engine, in three stages; see `Segmenter`.

    Args:
        config: model configuration.
        engine: see `yoso_ros.inference.engines`.
    """

    def __init__(self, config, engine):
        self._engine, self._fusion = engine, find_fusion(config.architecture)

    def prepare(self, frames, config):
        """Frames, a list of uint8 (H, W, 3) RGB, to `Prepared`."""
        started = time.perf_counter()
        images, sizes = network_input(frames, config, self._engine.size_divisor)
        spent = 1e3 * (time.perf_counter() - started)
        return Prepared(images, sizes, [frame.shape[:2] for frame in frames], config, spent)

    def infer(self, prepared):
        """`Prepared` to a list of `Inferred`, one per frame."""
        started = time.perf_counter()
        batch = self._engine(prepared.content)
        self._engine.synchronize()
        return inferred_frames(batch, prepared, {"inference": 1e3 * (time.perf_counter() - started)})

    def check(self, inferred):
        """Raise `InputError` unless the outputs of the network are finite."""
        if not are_finite(inferred.outputs):
            raise not_finite_error(self._engine.backend)

    def merge(self, inferred):
        """`Inferred` with finite outputs to `PanopticResult` without timings."""
        _, input_size, output_size, config = inferred[:4]
        merged = self._fusion.merge(inferred.outputs, input_size, output_size, config)
        return panoptic_result(merged, config.label_set)
