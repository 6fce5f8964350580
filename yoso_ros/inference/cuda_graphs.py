# SPDX-License-Identifier: Apache-2.0
"""Work on fixed tensors that a CUDA device repeats as a graph: one launch instead of hundreds.

A shape is run as it is the first time, which warms it up, and captured the second time: data sets whose pictures all
differ in size pay nothing for graphs that would run once.
"""

import logging

import torch

from yoso_ros.inference.by_shape import ByShape

_LOG = logging.getLogger(__name__)


class Captured:
    """A function of no arguments that works on tensors which stay where they are, and returns such tensors.

    Args:
        function: called once as it is, then captured; its host code does not run again. Where it cannot be captured it
            is called as it is every time, which a warning tells.
        stream: the CUDA stream to capture on, the current one in every call; None (a CPU) never captures.
        after: the `Captured` whose outputs the function reads, or None; only a graph's outputs stay where they are.

    Attributes:
        outputs: what the last call returned; the next one writes over it.
    """

    def __init__(self, function, stream, after=None):
        self._function, self._stream, self._after = function, stream, after
        self._graph, self._warm, self._capturable = None, False, True
        self.outputs = None

    def __call__(self):
        """Run or replay. Returns `outputs`, which are ready when the stream has come so far."""
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
            # Other threads of a process, such as a second model, may use the device meanwhile.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                outputs = self._function()
        except RuntimeError as error:  # a robot is better served by a slower network than by none
            self._capturable = False
            _LOG.warning("no CUDA graph, each frame launches its operations anew: %s", " ".join(str(error).split()))
        else:
            self._graph, self.outputs = graph, outputs


class GraphedNetwork:
    """A network as a function that may be called with any tensors: its calls are graphs on a stream of its own.

    Args:
        forward: images float32 (B, 3, H, W) on the device -> tuple of tensors; without host synchronisation.
        device: torch device; on a CPU `forward` is called as it is.
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
