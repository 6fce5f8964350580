# SPDX-License-Identifier: Apache-2.0
"""Panoptic result, instances and semantic map of one frame from one forward pass, for the evaluation of all three."""

import dataclasses
import time
from typing import NamedTuple

import numpy as np

from yoso_ros.fusion import Instances, find_instances, find_semantic_map, merge_mask_classification
from yoso_ros.inference.preprocess import batch_frames, check_frame, network_size, resize_frame
from yoso_ros.results import PanopticResult, panoptic_result


class FrameOutputs(NamedTuple):
    """What was asked for; the rest is None.

    Attributes:
        panoptic: `PanopticResult`, on a CPU exactly the one that the Segmenter gives.
        instances: `Instances`, things only.
        semantic: uint8 (H, W) class ids; every pixel has one.
        timings_ms: {"preprocess", "inference", "postprocess"}; the last is of everything that was asked for.
    """

    panoptic: PanopticResult | None
    instances: Instances | None
    semantic: np.ndarray | None
    timings_ms: dict[str, float]


def frame_outputs(segmenter, frame, tasks):
    """Run a `Segmenter`'s network once and derive the outputs of several tasks.

    Args:
        segmenter: `Segmenter`; its engine, configuration and thresholds are used.
        frame: uint8 (H, W, 3) RGB.
        tasks: of "panoptic", "instance", "semantic".

    Returns:
        `FrameOutputs`.
    """
    config = segmenter.config
    clock = [time.perf_counter()]
    check_frame(frame)
    output_size = frame.shape[:2]
    input_size = network_size(*output_size, config.shortest_edge, config.longest_edge)
    images = batch_frames([resize_frame(frame, input_size)], config.pixel_mean)
    clock.append(time.perf_counter())
    class_logits, mask_logits = segmenter.engine(images)
    segmenter.engine.synchronize()
    clock.append(time.perf_counter())
    raw = class_logits[0], mask_logits[0], input_size, output_size
    panoptic = instances = semantic = None
    if "panoptic" in tasks:
        panoptic = panoptic_result(merge_mask_classification(*raw, config), config.label_set)
    if "instance" in tasks:
        instances = find_instances(*raw, config)
    if "semantic" in tasks:
        semantic = find_semantic_map(*raw).cpu().numpy()
    segmenter.engine.synchronize()
    clock.append(time.perf_counter())
    spent = [1e3 * (end - start) for start, end in zip(clock, clock[1:], strict=False)]
    timings = dict(zip(("preprocess", "inference", "postprocess"), spent, strict=True))
    if panoptic is not None:
        panoptic = dataclasses.replace(panoptic, timings_ms=timings)
    return FrameOutputs(panoptic, instances, semantic, timings)
