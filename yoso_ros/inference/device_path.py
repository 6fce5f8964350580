# SPDX-License-Identifier: Apache-2.0
"""The whole way of frames on one CUDA device: uint8 frames in, one copy of the finished maps and tables back.

Between the copy of the frames and that of the results the host waits for nothing; each stage is a CUDA graph.
"""

import contextlib
import time

import torch

from yoso_ros.fusion import find_fusion
from yoso_ros.fusion.on_device import COLUMNS, NotOnDeviceError, host_result
from yoso_ros.inference.cuda_graphs import ByShape, Captured
from yoso_ros.inference.finite import are_finite, not_finite_error
from yoso_ros.inference.host_path import STAGES, Pass
from yoso_ros.inference.preprocess import batch_on_device


def create_device_path(config, engine):
    """The `DevicePath` of an engine on a CUDA device; None where the frames go the way of the CPU."""
    if engine.device.type != "cuda" or find_fusion(config.architecture).on_device is None:
        return None
    try:
        return DevicePath(config, engine)
    except NotOnDeviceError:
        return None


class DevicePath:
    """Frames to results on the device of an engine.

    Args:
        config: model configuration; of those given later only the thresholds may differ.
        engine: has `device`, `size_divisor` and `forward(images)`; the tests give one of the CPU, where nothing is
            captured.

    Raises:
        NotOnDeviceError: this configuration has to go the ordinary way.
    """

    def __init__(self, config, engine):
        self.engine, self.device = engine, engine.device
        self.fusion = find_fusion(config.architecture).on_device(config, self.device)
        self.stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        self.padding = torch.tensor(config.padding_color, device=self.device)
        self._work = ByShape(lambda shapes: _Work(self, shapes, config))

    @torch.inference_mode()
    def __call__(self, frames, config, merge=True):
        """Run frames in one pass; arguments and result as `HostPath`. The merge is a part of it either way."""
        started = time.perf_counter()
        caller = torch.cuda.current_stream(self.device) if self.stream else None
        with torch.cuda.stream(self.stream) if self.stream else contextlib.nullcontext():
            if self.stream:
                # Weights and thresholds were put on the device by the caller's stream, and what it does with the
                # outputs of the pass before, which this one writes over, may not be done either.
                self.stream.wait_stream(caller)
            work, marks = self.enqueue(frames, config)
            if self.stream:
                self.stream.synchronize()
        results = work.results(config.label_set) if merge else None
        preprocess, inference = (_milliseconds(*pair) for pair in zip(marks, marks[1:], strict=False))
        total = 1e3 * (time.perf_counter() - started)
        spent = preprocess, inference, total - preprocess - inference
        return Pass(results, work.outputs, dict(zip(STAGES, spent, strict=True)))

    def enqueue(self, frames, config):
        """Give the device all the work of a batch without waiting for any of it.

        Returns:
            (the `_Work` with the results once the stream is done, marks before and between the first two stages).
        """
        work = self._work[tuple(frame.shape for frame in frames)]
        marks = [self._mark()]
        self.fusion.update(config)
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
        sizes = [config.network_size(*shape[:2]) for shape in shapes]
        self._sizes, self._output_sizes = sizes, [tuple(shape[:2]) for shape in shapes]
        self._frames, self._pinned, self._fetched = frames, pinned, None
        self._rows, self._backend = 0, path.engine.backend

        def merge():
            merged = [
                path.fusion(outputs, size, output_size)
                for (outputs, size), output_size in zip(self.outputs, self._output_sizes, strict=True)
            ]
            self._rows = len(merged[0].table)
            # One buffer for one copy; what needs the widest alignment first.
            parts = [m.table for m in merged] + [m.panoptic for m in merged] + [m.confidence for m in merged]
            parts.append(are_finite(self.network.outputs))
            return torch.cat([part.flatten().view(torch.uint8) for part in parts])

        self.preprocess = Captured(
            lambda: batch_on_device(frames, sizes, path.padding, path.engine.size_divisor), path.stream
        )
        self.network = Captured(
            lambda: path.engine.forward(self.preprocess.outputs), path.stream, after=self.preprocess
        )
        self.merge = Captured(merge, path.stream, after=self.network)

    @property
    def outputs(self):
        """Of each frame the network's `Outputs` and its size in the input; the next pass writes over them."""
        batch = self.network.outputs
        return [(type(batch)(*tensors), size) for *tensors, size in zip(*batch, self._sizes, strict=True)]

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
        if not content[-1]:
            raise not_finite_error(self._backend)
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
