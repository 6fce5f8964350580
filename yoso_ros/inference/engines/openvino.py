# SPDX-License-Identifier: Apache-2.0
"""The OpenVINO engine: the fast engine for CPUs, in float32, bfloat16 or int8."""

import logging

import torch

from yoso_ros.errors import InputError
from yoso_ros.inference.by_shape import ByShape
from yoso_ros.inference.engines.devices import require_cpu
from yoso_ros.inference.openvino_graph import BFLOAT16, FULL, QUANTIZED, compile_graph, process_core
from yoso_ros.processor import bfloat16_is_fast, processor_features

_LOG = logging.getLogger(__name__)

# Always explicit, because OpenVINO defaults to bfloat16 on a CPU that supports it. int8 is in the graph itself; its
# float parts run in bfloat16 where that is fast, which costs no measurable PQ (docs/engines.md). In every precision the
# offsets of the deformable convolutions are computed and used in float32 (`keep_graph`).
_PRECISION_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
_GRAPHS = {"fp32": FULL, "bf16": BFLOAT16, "int8": QUANTIZED}


class OpenVinoEngine:
    """Runs a network with OpenVINO; one compiled network serves frames of any size, or of one size each.

    Args:
        model: a `PanopticNetwork`; it is not changed.
        precision: "fp32", "bf16", or "int8" for the graph created by `yoso-ros quantize`.
        threads: number of threads.

    Raises:
        InputError: precision is int8 and there is no quantised graph.
    """

    device = torch.device("cpu")

    def __init__(self, model, precision, threads):
        self.backend = f"openvino-cpu-{precision}"
        self._outputs, self.size_divisor = model.Outputs, model.size_divisor
        hint = _PRECISION_HINTS[precision]
        if precision == "int8" and bfloat16_is_fast() is not False:
            hint = "bf16" if "BF16" in process_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else hint
        options = {
            "INFERENCE_PRECISION_HINT": hint,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            # A thread pinned to a core waits there for other busy processes.
            "ENABLE_CPU_PINNING": False,
        }

        def request(sides):
            return compile_graph(model, _GRAPHS[precision], options, sides).create_infer_request()

        self._sized = model.config.graph_is_sized
        self._requests = ByShape(request)
        shape = model.config.input_shape if self._sized else None
        if shape or not self._sized:  # at once, for a start that needs time then, and not at the first frame
            self._requests[shape]

    def __call__(self, images):
        """images float32 (B, 3, H, W) -> `Outputs` of the network, float32 on the CPU."""
        # No copy for images that are channels-last in memory, as from `batch_frames`.
        frames = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        request = self._requests[frames.shape[1:3] if self._sized else None]
        outputs = request.infer([frames], share_inputs=True)
        return self._outputs(*(torch.from_numpy(outputs[index]) for index in range(len(self._outputs._fields))))

    def synchronize(self):
        """Nothing to wait for: calls are synchronous."""


def create_engine(model, device, precision):
    """Build an `OpenVinoEngine`; precision "auto" is fp32.

    Raises:
        ImportError: openvino is not installed.
        InputError: the device or the precision is not supported here.
    """
    import openvino  # noqa: F401 - fail before anything slow

    require_cpu("openvino", device)
    precision = "fp32" if precision == "auto" else precision
    if precision not in _PRECISION_HINTS:
        raise InputError(f"precision {precision} is not one of the openvino engine; it runs fp32, bf16 and int8")
    lacks = None
    if precision == "int8" and not processor_features().get("VNNI", True):
        lacks = "VNNI"
    elif precision == "bf16" and bfloat16_is_fast() is False:
        lacks = "fast bfloat16"
    if lacks:
        _LOG.warning(
            "this processor has no %s, without which %s may be no faster than fp32; see yoso-ros benchmark engines",
            lacks,
            precision,
        )
    return OpenVinoEngine(model, precision, torch.get_num_threads())
