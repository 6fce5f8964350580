# SPDX-License-Identifier: Apache-2.0
"""The complete path of frames on one CUDA device: uint8 frames in, one copy of the finished maps and tables back.

The host does not wait between copying the frames and copying the results; each stage is a CUDA graph.
"""

import contextlib
import time
from typing import NamedTuple

import numpy as np
import torch

from yoso_ros.fusion import find_fusion
from yoso_ros.fusion.on_device import COLUMNS, NotOnDeviceError, host_result
from yoso_ros.inference.by_shape import ByShape
from yoso_ros.inference.cuda_graphs import Captured
from yoso_ros.inference.finite import are_finite, not_finite_error
from yoso_ros.inference.preprocess import batch_on_device
from yoso_ros.inference.stages import STAGES, Prepared, inferred_frames


def create_device_path(config, engine):
    """The `DevicePath` of an engine on a CUDA device; None if the frames take the CPU path."""
    if engine.device.type != "cuda" or find_fusion(config.architecture).on_device is None:
        return None
    try:
        return DevicePath(config, engine)
    except NotOnDeviceError:
        return None


class DevicePath:
    """Frames to results on the device of an engine.

    Args:
        config: model configuration; those given later may differ only in the thresholds.
        engine: has `device`, `size_divisor` and `forward(images)`; the tests use one on the CPU, where nothing is
            captured.

    Raises:
        NotOnDeviceError: this configuration must use the host path.
    """

    def __init__(self, config, engine):
        self.engine, self.device = engine, engine.device
        self.fusion = find_fusion(config.architecture).on_device(config, self.device)
        self.stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        self.padding = torch.tensor(config.padding_color, device=self.device)
        self._work = ByShape(lambda shapes: _Work(self, shapes, config))

    def prepare(self, frames, config):
        """Frames, a list of uint8 (H, W, 3) RGB, to `Prepared` in pinned memory."""
        started = time.perf_counter()
        # New memory for each pass, because the device may still be reading that of the previous one. torch caches freed
        # memory and reuses it only once the copies from it are done.
        sent = [torch.empty(frame.shape, dtype=torch.uint8, pin_memory=self.stream is not None) for frame in frames]
        for pixels, frame in zip(sent, frames, strict=True):
            pixels.numpy()[...] = frame
        output_sizes = [frame.shape[:2] for frame in frames]
        sizes = [config.network_size(*size) for size in output_sizes]
        return Prepared(sent, sizes, output_sizes, config, 1e3 * (time.perf_counter() - started))

    @torch.inference_mode()
    def infer(self, prepared):
        """`Prepared` to a list of `Inferred`, one per frame, with the merge already on the host."""
        started = time.perf_counter()
        caller = torch.cuda.current_stream(self.device) if self.stream else None
        with torch.cuda.stream(self.stream) if self.stream else contextlib.nullcontext():
            if self.stream:
                # The caller's stream may still be copying weights and thresholds, or using the outputs of the previous
                # pass, which this one overwrites.
                self.stream.wait_stream(caller)
            work, fetched, marks = self.enqueue(prepared)
            if self.stream:
                self.stream.synchronize()
        preprocess, inference = (_milliseconds(*pair) for pair in zip(marks, marks[1:], strict=False))
        total = 1e3 * (time.perf_counter() - started)
        spent = preprocess, inference, total - preprocess - inference
        return inferred_frames(
            work.network.outputs, prepared, dict(zip(STAGES, spent, strict=True)), work.parts(fetched)
        )

    def check(self, inferred):
        """Raise `InputError` unless the outputs of the network are finite."""
        if not inferred.fetched.finite:
            raise not_finite_error(self.engine.backend)

    def merge(self, inferred):
        """`Inferred` with finite outputs to `PanopticResult` without timings."""
        part = inferred.fetched
        return host_result(part.panoptic, part.confidence, part.table, inferred.config.label_set)

    def enqueue(self, prepared):
        """Enqueue all the work of a batch on the device without waiting for any of it.

        Returns:
            (the `_Work`, the tensor that has the results once the stream is done, time marks around the first two
            stages).
        """
        work = self._work[tuple(tuple(pixels.shape) for pixels in prepared.content)]
        marks = [self._mark()]
        self.fusion.update(prepared.config)
        work.send(prepared.content)
        work.preprocess()
        marks.append(self._mark())
        work.network()
        marks.append(self._mark())
        work.merge()
        return work, work.fetch(), marks

    def _mark(self):
        if self.stream is None:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(self.stream)
        return event


class _Part(NamedTuple):
    """The merge of one frame on the host: int16 (H, W), uint8 (H, W), float64 table of `COLUMNS`, finite outputs."""

    panoptic: np.ndarray
    confidence: np.ndarray
    table: np.ndarray
    finite: bool


class _Work:
    """The buffers and stages for frames of given shapes."""

    def __init__(self, path, shapes, config):
        frames = [torch.empty(shape, dtype=torch.uint8, device=path.device) for shape in shapes]
        sizes = [config.network_size(*shape[:2]) for shape in shapes]
        self._output_sizes = [tuple(shape[:2]) for shape in shapes]
        self._frames, self._rows, self._pin = frames, 0, path.stream is not None

        def merge():
            batch = self.network.outputs
            merged, finite = [], []
            for *tensors, size, output_size in zip(*batch, sizes, self._output_sizes, strict=True):
                outputs = type(batch)(*tensors)
                merged.append(path.fusion(outputs, size, output_size))
                finite.append(are_finite(outputs))
            self._rows = len(merged[0].table)
            # One buffer, so that one copy suffices; the parts with the widest alignment come first.
            parts = [m.table for m in merged] + [m.panoptic for m in merged] + [m.confidence for m in merged]
            return torch.cat([part.flatten().view(torch.uint8) for part in (*parts, *finite)])

        self.preprocess = Captured(
            lambda: batch_on_device(frames, sizes, path.padding, path.engine.size_divisor), path.stream
        )
        self.network = Captured(
            lambda: path.engine.forward(self.preprocess.outputs), path.stream, after=self.preprocess
        )
        self.merge = Captured(merge, path.stream, after=self.network)

    def send(self, frames):
        """Copy frames, tensors on the host, to the device."""
        for own, sent in zip(self._frames, frames, strict=True):
            own.copy_(sent, non_blocking=True)

    def fetch(self):
        """Copy the results to the host: uint8 tensor, filled once the stream is done; each pass has a new one."""
        fetched = torch.empty(self.merge.outputs.shape, dtype=torch.uint8, pin_memory=self._pin)
        return fetched.copy_(self.merge.outputs, non_blocking=True)

    def parts(self, fetched):
        """`_Part` of each frame: views of the fetched tensor."""
        content, position, arrays = fetched.numpy(), 0, []
        count = len(self._output_sizes)
        table = (self._rows, len(COLUMNS))
        for dtype, itemsize, shapes in (
            ("float64", 8, [table] * count),
            ("int16", 2, self._output_sizes),
            ("uint8", 1, self._output_sizes),
            ("bool", 1, [(1, 1)] * count),
        ):
            kind = []
            for shape in shapes:
                end = position + itemsize * shape[0] * shape[1]
                kind.append(content[position:end].view(dtype).reshape(shape))
                position = end
            arrays.append(kind)
        return [_Part(p, c, t, bool(f)) for t, p, c, f in zip(*arrays, strict=True)]


def _milliseconds(start, end):
    return 1e3 * (end - start) if isinstance(start, float) else start.elapsed_time(end)
