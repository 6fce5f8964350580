# SPDX-License-Identifier: Apache-2.0
"""The work on one batch of frames, at most one of each camera: decode, segment in one pass, publish."""

import time


def segment_and_publish(batch, started, segmenter, cameras, settings, age_ms):
    """Segment and publish a batch of image messages. A frame that fails does not stop the others.

    Args:
        batch: list of `yoso_ros.ros.worker.Delivery` whose items are image messages and whose sources are camera names.
        started: when work on it started, `time.perf_counter()` seconds.
        segmenter: has `batch(frames)`, as `yoso_ros.inference.Segmenter`.
        cameras: dict of source to `yoso_ros.ros.camera.Camera`, or what has its `decode` and `publish`.
        settings: `yoso_ros.ros.parameters.Settings`.
        age_ms: function of a stamp, its age in milliseconds.

    Returns:
        for each delivery a dict of times in milliseconds, as in yoso_ros/InferenceStats, or the exception that made it
        fail. Stages that the frames of a batch share count in full for each of them, for each has waited so long.
    """
    outcomes = [_outcome(cameras[delivery.source].decode, delivery.item) for delivery in batch]
    decoded = time.perf_counter()
    frames = {i: frame for i, frame in enumerate(outcomes) if not isinstance(frame, Exception)}
    results = dict(zip(frames, _results(segmenter, list(frames.values())), strict=True))
    segmented = time.perf_counter()
    good = {i: result for i, result in results.items() if not isinstance(result, Exception)}
    # Results carry their share of the call.
    preprocess_ms, inference_ms = (
        sum(result.timings_ms[stage] for result in good.values()) for stage in ("preprocess", "inference")
    )
    shared = {
        "preprocess_ms": 1e3 * (decoded - started) + preprocess_ms,
        "inference_ms": inference_ms,
        # All the rest of the call, so that the stages add up to the latency.
        "postprocess_ms": 1e3 * (segmented - decoded) - preprocess_ms - inference_ms,
    }
    outcomes = [results.get(i, outcome) for i, outcome in enumerate(outcomes)]
    for i, result in good.items():
        header = batch[i].item.header
        fault = _outcome(cameras[batch[i].source].publish, frames[i], result, header, settings)
        published = time.perf_counter()
        outcomes[i] = fault or shared | {
            "queue_ms": 1e3 * (started - batch[i].received),
            "publish_ms": 1e3 * (published - segmented),
            "latency_ms": 1e3 * (published - batch[i].received),
            "age_ms": age_ms(header.stamp),
        }
    return outcomes


def _results(segmenter, frames):
    """`PanopticResult` of each frame from one pass; when that fails, from a pass of its own, or its exception."""
    try:
        return segmenter.batch(frames) if frames else []
    except Exception as error:  # whatever the frames do to the network, the node goes on
        if len(frames) == 1:
            return [error]
    return [_outcome(segmenter, frame) for frame in frames]


def _outcome(function, *arguments):
    """What a function returns or, as a value, the exception that it raises."""
    try:
        return function(*arguments)
    except Exception as error:  # it becomes the outcome of one frame, which is counted and logged
        return error
