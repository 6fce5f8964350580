# SPDX-License-Identifier: Apache-2.0
"""What passes between the three stages of a Segmenter, so that several frames can be on their way at once."""

from typing import Any, NamedTuple

STAGES = ("preprocess", "inference", "postprocess")


class Prepared(NamedTuple):
    """Frames of one pass, ready for the network.

    Attributes:
        content: of the way that the frames go, such as the network's input.
        sizes: (height, width) of each frame in the network's input.
        output_sizes: (height, width) of each frame.
        config: model configuration with the thresholds that hold for them.
        preprocess_ms: time spent on all of them so far.
    """

    content: Any
    sizes: list[tuple[int, int]]
    output_sizes: list[tuple[int, int]]
    config: Any
    preprocess_ms: float


class Inferred(NamedTuple):
    """One frame behind the network.

    Attributes:
        outputs: the network's `Outputs` of one image; on a CUDA device valid until the next pass.
        input_size, output_size: (height, width) in the network's input, and of the frame.
        config: as of `Prepared`.
        spent_ms: this frame's share of the pass, by stage.
        fetched: what a CUDA device merged already, on the host; else None.
    """

    outputs: Any
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    config: Any
    spent_ms: dict[str, float]
    fetched: Any = None


def inferred_frames(batch_outputs, prepared, spent_ms, fetched=None):
    """`Inferred` of each frame of a pass; their outputs are parts of the batch, not copies.

    Args:
        batch_outputs: the network's `Outputs`.
        prepared: the `Prepared` that went in.
        spent_ms: dict of stage to the time of all frames together, without what `prepared` says.
        fetched: list with one for each frame, or None.
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
