# SPDX-License-Identifier: Apache-2.0
"""Processing of frames that share a pass of the network, at most one per camera, as stages of the node's worker."""

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Frame:
    """One frame in progress: the image, then its result, and the sources that shared its passes."""

    pixels: object
    inferred: object = None
    together: int = 1


@dataclass(slots=True)
class _Batch:
    """The content of a `yoso_ros.ros.worker.Job`; times are `time.perf_counter()` seconds.

    Attributes:
        frames: dict of source to `_Frame`.
        passes: list of (sources, result of `Segmenter.prepare` for their frames).
        started, spent: when the work began, and the time spent in the stages so far.
        decoding: duration of decoding.
    """

    frames: dict
    started: float
    passes: list = field(default_factory=list)
    decoding: float = 0.0
    spent: float = 0.0


class FrameStages:
    """Decode and prepare, network, merge and publish. A frame that fails does not stop the others.

    Args:
        sources: function of the source of a `Delivery` whose item is an image message: its
            `yoso_ros.ros.camera.Camera`, or an object with its `decode` and `publish`.
        age_ms: function of a stamp, its age in milliseconds.

    Attributes:
        segmenter: has `prepare`, `infer` and `merge` like `yoso_ros.inference.Segmenter`; each is called by one thread
            at a time.
        settings: `yoso_ros.ros.parameters.Settings`.
    """

    def __init__(self, sources, age_ms):
        self._sources, self._age_ms = sources, age_ms
        self.segmenter = self.settings = None

    def prepare(self, job):
        """Turn image messages into network input."""
        started, frames, outcomes = time.perf_counter(), {}, {}
        for source, delivery in job.deliveries.items():
            pixels = _outcome(self._sources(source).decode, delivery.item)
            if isinstance(pixels, Exception):
                outcomes[source] = pixels
            else:
                frames[source] = _Frame(pixels)
        batch = job.content = _Batch(frames, started)
        batch.decoding = time.perf_counter() - started
        together = _outcome(self._prepare, frames) if frames else []
        if isinstance(together, Exception):
            for source, frame in frames.items():
                alone = _outcome(self._prepare, {source: frame}) if len(frames) > 1 else together
                if isinstance(alone, Exception):
                    outcomes[source] = alone
                else:
                    batch.passes += alone
        else:
            batch.passes = together
        batch.spent += time.perf_counter() - started
        return outcomes

    def _prepare(self, frames):
        return [(list(frames), self.segmenter.prepare([frame.pixels for frame in frames.values()]))]

    def infer(self, job):
        """Run one pass of the network for all frames; if that fails, one for each."""
        started, outcomes, batch = time.perf_counter(), {}, job.content
        for sources, prepared in batch.passes:
            inferred = _outcome(self.segmenter.infer, prepared)
            if isinstance(inferred, Exception):
                alone = self._infer_alone if len(sources) > 1 else lambda _, error=inferred: error
                inferred, together = [_outcome(alone, batch.frames[source].pixels) for source in sources], 1
            else:
                together = len(sources)
            for source, one in zip(sources, inferred, strict=True):
                if isinstance(one, Exception):
                    outcomes[source] = one
                else:
                    batch.frames[source].inferred, batch.frames[source].together = one, together
        batch.passes = []
        batch.spent += time.perf_counter() - started
        return outcomes

    def _infer_alone(self, pixels):
        return self.segmenter.infer(self.segmenter.prepare([pixels]))[0]

    def publish(self, job):
        """Merge and publish frame by frame.

        Returns:
            dict of source to a dict of times in milliseconds, as in yoso_ros/InferenceStats, or the exception that made
            the frame fail. Stages shared by the frames of a pass count in full for each of them, because each waited
            that long.
        """
        return {source: _outcome(self._publish, job.content, delivery) for source, delivery in job.deliveries.items()}

    def _publish(self, batch, delivery):
        frame, started = batch.frames[delivery.source], time.perf_counter()
        result = self.segmenter.merge(frame.inferred)
        merged = time.perf_counter()
        header = delivery.item.header
        self._sources(delivery.source).publish(frame.pixels, result, header, self.settings)
        published = time.perf_counter()
        # Results contain their share of the pass.
        preprocess = 1e-3 * frame.together * result.timings_ms["preprocess"]
        inference = 1e-3 * frame.together * result.timings_ms["inference"]
        work = batch.spent + merged - started
        seconds = {
            "queue": published - delivery.received - work - (published - merged),
            "preprocess": batch.decoding + preprocess,
            "inference": inference,
            # The remaining time, so that the stages add up to the latency.
            "postprocess": work - batch.decoding - preprocess - inference,
            "publish": published - merged,
            "latency": published - delivery.received,
        }
        times = {f"{name}_ms": 1e3 * value for name, value in seconds.items()}
        return times | {"age_ms": self._age_ms(header.stamp)}


def _outcome(function, *arguments):
    """Return the result of a function or, as a value, the exception that it raises."""
    try:
        return function(*arguments)
    except Exception as error:  # it becomes the outcome of one frame, which is counted and logged
        return error
