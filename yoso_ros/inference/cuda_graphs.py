# SPDX-License-Identifier: Apache-2.0
"""Work on fixed tensors that a CUDA device replays as a graph: one launch instead of hundreds.

A shape runs eagerly the first time, which warms it up, and is captured the second time, so data sets whose images all
differ in size do not pay for graphs that would run only once.
"""

import logging

import torch

from yoso_ros.inference.by_shape import ByShape

_LOG = logging.getLogger(__name__)


class Captured:
    """A function without arguments that reads and returns tensors at fixed addresses.

    Args:
        function: called once eagerly, then captured; its host code does not run again. If it cannot be captured, it
            is called eagerly every time and a warning is logged.
        stream: the CUDA stream to capture on, the current one in every call; None (a CPU) never captures.
        after: the `Captured` whose outputs the function reads, or None; only a graph's outputs have fixed addresses.

    Attributes:
        outputs: what the last call returned; overwritten by the next call.
    """

    def __init__(self, function, stream, after=None):
        self._function, self._stream, self._after = function, stream, after
        self._graph, self._warm, self._capturable = None, False, True
        self.outputs = None

    def __call__(self):
        """Run or replay. Returns `outputs`, which are ready once the stream has reached this point."""
        fixed = self._after is None or self._after._graph is not None
        if self._stream is not None and self._warm and self._graph is None and self._capturable and fixed:
            self._capture()
        if self._graph is None:
            self.outputs, self._warm = self._function(), True
        else:
            self._graph.replay()
        return self.outputs

    def _capture(self):
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads of the process, such as a second model, may use the device at the same time.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                outputs = self._function()
        except RuntimeError as error:  # for a robot a slower network is better than none
            self._capturable = False
            _LOG.warning("no CUDA graph, each frame launches its operations anew: %s", " ".join(str(error).split()))
        else:
            self._graph, self.outputs = graph, outputs


class GraphedNetwork:
    """A network as a function that may be called with any tensors; its calls run as graphs on a separate stream.

    Args:
        forward: images float32 (B, 3, H, W) on the device -> tuple of tensors; without host synchronisation.
        device: torch device; on a CPU `forward` is called directly.
    """

    def __init__(self, forward, device):
        self._forward, self._device = forward, device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._shapes = ByShape(self._prepare)

    def _prepare(self, shape):
        images = torch.empty(shape, device=self._device, memory_format=torch.channels_last)
        return images, Captured(lambda: self._forward(images), self._stream)

    @torch.inference_mode()
    def __call__(self, images):
        """images float32 (B, 3, H, W) on any device -> tuple of tensors that belong to the caller."""
        if self._stream is None:
            return self._forward(images)
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            own, captured = self._shapes[tuple(images.shape)]
            own.copy_(images, non_blocking=True)
            outputs = tuple(output.clone() for output in captured())
        current.wait_stream(self._stream)
        for output in outputs:
            output.record_stream(current)
        return outputs
