# SPDX-License-Identifier: Apache-2.0
"""The onnxruntime engine: the lightweight engine for CPUs, float32."""

import torch

from yoso_ros.errors import InputError
from yoso_ros.inference.by_shape import ByShape
from yoso_ros.inference.engine_cache import engine_graph
from yoso_ros.inference.engines.devices import require_cpu
from yoso_ros.inference.export import INPUT_NAME

_LOG_ERRORS = 3  # severity: warnings during graph optimisation are of no use to users


class OnnxRuntimeEngine:
    """Runs an exported network with onnxruntime.

    Args:
        model: a `PanopticNetwork`; it is not changed.
        threads: number of threads.
    """

    device = torch.device("cpu")
    backend = "onnxruntime-cpu-fp32"

    def __init__(self, model, threads):
        import onnxruntime

        self._outputs, self.size_divisor = model.Outputs, model.size_divisor

        options = onnxruntime.SessionOptions()
        options.log_severity_level = _LOG_ERRORS
        # An explicit number, because the default pins each thread to a core that another process may be using.
        options.intra_op_num_threads = threads
        # Spinning idle threads take the core from threads that have work (docs/engines.md).
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")

        def session(shape):
            graph = engine_graph(model, shape)
            return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

        self._one_shape, self._sessions = model.config.onnx_is_of_one_shape, ByShape(session)
        if not self._one_shape:  # at once, for a start that needs time then, and not at the first frame
            self._sessions[None]

    def __call__(self, images):
        """images float32 (B, 3, H, W) -> `Outputs` of the network, float32 on the CPU."""
        # No copy for images that are channels-last in memory, as from `batch_frames`.
        frames = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        session = self._sessions[frames.shape[:3] if self._one_shape else None]
        outputs = session.run(list(self._outputs._fields), {INPUT_NAME: frames})
        return self._outputs(*map(torch.from_numpy, outputs))

    def synchronize(self):
        """Nothing to wait for: calls are synchronous."""


def create_engine(model, device, precision):
    """Build an `OnnxRuntimeEngine`; precision "auto" is fp32.

    Raises:
        ImportError: onnxruntime is not installed.
        InputError: the device or the precision is not supported here, or the graph cannot be exported.
    """
    import onnxruntime  # noqa: F401 - fail before a slow export

    require_cpu("onnxruntime", device)
    if precision not in ("auto", "fp32"):
        raise InputError(f"precision {precision} is not one of the onnxruntime engine; it runs fp32")
    return OnnxRuntimeEngine(model, torch.get_num_threads())
