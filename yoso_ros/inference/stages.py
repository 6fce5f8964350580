# SPDX-License-Identifier: Apache-2.0
"""Data passed between the three stages of a Segmenter, so that several frames can be in flight at once."""

from typing import Any, NamedTuple

STAGES = ("preprocess", "inference", "postprocess")


class Prepared(NamedTuple):
    """Frames of one pass, ready for the network.

    Attributes:
        content: data specific to the path, such as the network's input.
        sizes: (height, width) of each frame in the network's input.
        output_sizes: (height, width) of each frame.
        config: model configuration with the thresholds that apply to them.
        preprocess_ms: total time spent on them so far.
    """

    content: Any
    sizes: list[tuple[int, int]]
    output_sizes: list[tuple[int, int]]
    config: Any
    preprocess_ms: float


class Inferred(NamedTuple):
    """One frame after the network.

    Attributes:
        outputs: the network's `Outputs` for one image; on a CUDA device valid until the next pass.
        input_size, output_size: (height, width) in the network's input, and of the frame.
        config: as in `Prepared`.
        spent_ms: this frame's share of the pass, by stage.
        fetched: the result of a merge on a CUDA device, copied to the host; else None.
    """

    outputs: Any
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    config: Any
    spent_ms: dict[str, float]
    fetched: Any = None


def inferred_frames(batch_outputs, prepared, spent_ms, fetched=None):
    """`Inferred` for each frame of a pass; their outputs are views of the batch, not copies.

    Args:
        batch_outputs: the network's `Outputs`.
        prepared: the `Prepared` input of the pass.
        spent_ms: dict of stage to the total time of all frames, in addition to that in `prepared`.
        fetched: list with one entry per frame, or None.
    """
    count = len(prepared.sizes)
    spent = dict.fromkeys(STAGES, 0.0) | spent_ms
    spent["preprocess"] += prepared.preprocess_ms
    share = {stage: ms / count for stage, ms in spent.items()}
    outputs = [type(batch_outputs)(*tensors) for tensors in zip(*batch_outputs, strict=True)]
    return [
        Inferred(*frame, prepared.config, dict(share), one)
        for *frame, one in zip(outputs, prepared.sizes, prepared.output_sizes, fetched or [None] * count, strict=True)
    ]
