# SPDX-License-Identifier: Apache-2.0
"""The whole way of frames on one CUDA device: uint8 frames in, one copy of the finished maps and tables back.

Between the copy of the frames and that of the results the host waits for nothing; each stage is a CUDA graph.
"""

import contextlib
import dataclasses
import time

import torch

from yoso_ros.fusion.on_device import COLUMNS, host_result, merge_on_device
from yoso_ros.inference.cuda_graphs import ByShape, Captured
from yoso_ros.inference.preprocess import batch_on_device, network_size
from yoso_ros.results import MAX_INSTANCES


def create_device_path(config, engine):
    """The `DevicePath` of an engine on a CUDA device; None where the frames go the way of the CPU."""
    if engine.device.type != "cuda" or config.num_proposals > MAX_INSTANCES:
        return None
    return DevicePath(config, engine)


class DevicePath:
    """Frames to results on the device of an engine.

    Args:
        config: model configuration; of those given later only the thresholds may differ.
        engine: has `device` and `forward(images)`; the tests give one of the CPU, where nothing is captured.
    """

    def __init__(self, config, engine):
        self.engine, self.device = engine, engine.device
        self.stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        things = torch.zeros(config.num_classes + 1, dtype=torch.bool)
        things[list(config.label_set.thing_ids)] = True
        self.is_thing = things.to(self.device)
        self.pixel_mean = torch.tensor(config.pixel_mean, device=self.device)
        self.score_threshold = torch.zeros((), device=self.device)
        self.overlap_threshold = torch.zeros((), dtype=torch.float64, device=self.device)
        self._work = ByShape(lambda shapes: _Work(self, shapes, config))

    @torch.inference_mode()
    def __call__(self, frames, config):
        """Segment frames in one pass; arguments and result as `Segmenter.batch`, `config` with the thresholds."""
        started = time.perf_counter()
        with torch.cuda.stream(self.stream) if self.stream else contextlib.nullcontext():
            work, marks = self.enqueue(frames, config)
            if self.stream:
                self.stream.synchronize()
        results = work.results(config.label_set)
        preprocess, inference = (_milliseconds(*pair) for pair in zip(marks, marks[1:], strict=False))
        total = 1e3 * (time.perf_counter() - started)
        spent = {"preprocess": preprocess, "inference": inference, "postprocess": total - preprocess - inference}
        return [
            dataclasses.replace(result, timings_ms={stage: ms / len(frames) for stage, ms in spent.items()})
            for result in results
        ]

    def enqueue(self, frames, config):
        """Give the device all the work of a batch without waiting for any of it.

        Returns:
            (the `_Work` with the results once the stream is done, marks before and between the first two stages).
        """
        work = self._work[tuple(frame.shape for frame in frames)]
        marks = [self._mark()]
        self.score_threshold.fill_(config.score_threshold)
        self.overlap_threshold.fill_(config.overlap_threshold)
        work.send(frames)
        work.preprocess()
        marks.append(self._mark())
        work.network()
        marks.append(self._mark())
        work.merge()
        work.fetch()
        return work, marks

    def _mark(self):
        if self.stream is None:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(self.stream)
        return event


class _Work:
    """The buffers and stages for frames of certain shapes."""

    def __init__(self, path, shapes, config):
        pinned = {"pin_memory": path.stream is not None}
        self._sent = [torch.empty(shape, dtype=torch.uint8, **pinned) for shape in shapes]
        frames = [torch.empty(shape, dtype=torch.uint8, device=path.device) for shape in shapes]
        sizes = [network_size(*shape[:2], config.shortest_edge, config.longest_edge) for shape in shapes]
        self._frames, self._output_sizes = frames, [tuple(shape[:2]) for shape in shapes]
        self._rows, self._pinned, self._fetched = config.num_proposals + 1, pinned, None

        def merge():
            merged = [
                merge_on_device(
                    class_logits,
                    mask_logits,
                    size,
                    output_size,
                    score_threshold=path.score_threshold,
                    overlap_threshold=path.overlap_threshold,
                    is_thing=path.is_thing,
                )
                for class_logits, mask_logits, size, output_size in zip(
                    *self.network.outputs, sizes, self._output_sizes, strict=True
                )
            ]
            # One buffer for one copy; what needs the widest alignment first.
            parts = [m.table for m in merged] + [m.panoptic for m in merged] + [m.confidence for m in merged]
            return torch.cat([part.flatten().view(torch.uint8) for part in parts])

        self.preprocess = Captured(lambda: batch_on_device(frames, sizes, path.pixel_mean), path.stream)
        self.network = Captured(lambda: path.engine.forward(self.preprocess.outputs), path.stream)
        self.merge = Captured(merge, path.stream)

    def send(self, frames):
        """Frames to the device, by way of memory that it can read by itself."""
        for frame, sent, own in zip(frames, self._sent, self._frames, strict=True):
            sent.numpy()[...] = frame
            own.copy_(sent, non_blocking=True)

    def fetch(self):
        """Results to the host; they are there when the stream is done."""
        if self._fetched is None:
            self._fetched = torch.empty(self.merge.outputs.shape, dtype=torch.uint8, **self._pinned)
        self._fetched.copy_(self.merge.outputs, non_blocking=True)

    def results(self, label_set):
        """`PanopticResult` of each frame, of what was fetched."""
        content, position, arrays = self._fetched.numpy(), 0, []
        table = (self._rows, len(COLUMNS))
        for dtype, itemsize, shapes in (
            ("float64", 8, [table] * len(self._output_sizes)),
            ("int16", 2, self._output_sizes),
            ("uint8", 1, self._output_sizes),
        ):
            kind = []
            for shape in shapes:
                end = position + itemsize * shape[0] * shape[1]
                kind.append(content[position:end].view(dtype).reshape(shape))
                position = end
            arrays.append(kind)
        return [host_result(p, c, t, label_set) for t, p, c in zip(*arrays, strict=True)]


def _milliseconds(start, end):
    return 1e3 * (end - start) if isinstance(start, float) else start.elapsed_time(end)
