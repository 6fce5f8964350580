# SPDX-License-Identifier: Apache-2.0
"""Segmenter: frames in, `PanopticResult`s out. All that the node, the evaluation, the CLI and the benchmarks know."""

import dataclasses
import time

from yoso_ros.checkpoint import load_weights, shipped_weights
from yoso_ros.fusion import merge_mask_classification
from yoso_ros.inference.device_path import create_device_path
from yoso_ros.inference.engines import create_engine
from yoso_ros.inference.preprocess import batch_frames, check_frame, network_size, resize_frame
from yoso_ros.models import create_model, load_config
from yoso_ros.results import panoptic_result


class Segmenter:
    """Panoptic segmentation of frames with one network.

    Args:
        config: model configuration.
        engine: see `yoso_ros.inference.engines`.

    Attributes:
        config: model configuration.
        label_set: its `LabelSet`.
        backend: short name of engine, device and precision.
        score_threshold, overlap_threshold: 0..1, may be set at any time and take effect on the next frame.
    """

    def __init__(self, config, engine):
        self.config, self.engine = config, engine
        self.label_set, self.backend = config.label_set, engine.backend
        self._device_path = create_device_path(config, engine)

    @property
    def score_threshold(self):
        """Smallest class probability of a segment, 0..1."""
        return self.config.score_threshold

    @score_threshold.setter
    def score_threshold(self, value):
        self._set_threshold("score_threshold", value)

    @property
    def overlap_threshold(self):
        """Smallest share of a mask that must be visible, 0..1."""
        return self.config.overlap_threshold

    @overlap_threshold.setter
    def overlap_threshold(self, value):
        self._set_threshold("overlap_threshold", value)

    def _set_threshold(self, name, value):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name}: expected 0 to 1, found {value}")
        # One assignment of a new object: a frame in work on another thread keeps the old one.
        self.config = dataclasses.replace(self.config, **{name: float(value)})

    def __call__(self, frame):
        """Segment one frame: uint8 (H, W, 3) RGB, any H, W >= 1 -> `PanopticResult` at that size.

        Raises:
            TypeError, ValueError: the frame has another type or shape; the message says which.
        """
        return self.batch([frame])[0]

    def batch(self, frames):
        """Segment frames of any sizes in one forward pass.

        They are padded to a common size, and as in the authors' network the padding is part of the context: a frame's
        result may differ slightly from the one it gets alone.

        Args:
            frames: list of uint8 (H, W, 3) RGB.

        Returns:
            list of `PanopticResult`; `timings_ms` of each is its share (one n-th) of the call.
        """
        if not frames:
            return []
        config = self.config
        clock = [time.perf_counter()]
        for frame in frames:
            check_frame(frame)
        if self._device_path is not None:
            return self._device_path(frames, config)
        sizes = [network_size(*frame.shape[:2], config.shortest_edge, config.longest_edge) for frame in frames]
        images = batch_frames([resize_frame(f, s) for f, s in zip(frames, sizes, strict=True)], config.pixel_mean)
        clock.append(time.perf_counter())
        class_logits, mask_logits = self.engine(images)
        self.engine.synchronize()
        clock.append(time.perf_counter())
        results = [
            panoptic_result(merge_mask_classification(c, m, size, frame.shape[:2], config), config.label_set, {})
            for c, m, size, frame in zip(class_logits, mask_logits, sizes, frames, strict=True)
        ]
        clock.append(time.perf_counter())
        stages = ("preprocess", "inference", "postprocess")
        spent = [1e3 * (end - start) / len(frames) for start, end in zip(clock, clock[1:], strict=False)]
        timings = dict(zip(stages, spent, strict=True))
        return [dataclasses.replace(result, timings_ms=dict(timings)) for result in results]


def load_network(model, weights=None):
    """Build the network of a model configuration with its weights, in the form that is run.

    Args:
        model: name in config/models, or the path of a YAML file.
        weights: `.safetensors` of this package, or an authors' `.pth`; None takes the shipped checkpoint.

    Returns:
        module in evaluation mode; its attribute `config` is the configuration.

    Raises:
        InputError: an argument or a file does not fit.
    """
    config = load_config(model)
    if getattr(config, "aggregation", None) == "ifa":
        # Trained interpolation-first, run convolution-first: equal outputs, less work (paper section 3.2).
        config = dataclasses.replace(config, aggregation="cfa")
    network = create_model(config)
    load_weights(network, weights or shipped_weights(config))
    return network.eval()


def load_segmenter(
    model,
    weights=None,
    device="auto",
    engine="auto",
    precision="auto",
    score_threshold=None,
    overlap_threshold=None,
    engine_path=None,
    force_rebuild=False,
):
    """Build a `Segmenter` from a model configuration and weights.

    Args:
        model: name in config/models, or the path of a YAML file.
        weights: `.safetensors` of this package, or an authors' `.pth`; None takes the shipped checkpoint.
        device: "auto", "cpu", "cuda", "cuda:N".
        engine: "auto" (the fastest that is present) or a name in `yoso_ros.inference.engines.ENGINES`.
        precision: "auto", "fp32", "bf16", "fp16", "int8"; which engine runs which: docs/engines.md.
        score_threshold: 0..1, None for the configuration's.
        overlap_threshold: 0..1, None for the configuration's.
        engine_path: of engine "tensorrt": file of the built engine for the first size of frames, None for one in the
            cache folder.
        force_rebuild: of engine "tensorrt": build engines anew.

    Raises:
        InputError: an argument or a file does not fit; the message says what was expected and what was found.
    """
    network = load_network(model, weights)
    config = network.config
    segmenter = Segmenter(config, create_engine(engine, network, device, precision, engine_path, force_rebuild))
    if score_threshold is not None:
        segmenter.score_threshold = score_threshold
    if overlap_threshold is not None:
        segmenter.overlap_threshold = overlap_threshold
    return segmenter
