# SPDX-License-Identifier: Apache-2.0
"""The onnxruntime engine: the light one for a CPU, float32."""

import torch

from yoso_ros.errors import InputError
from yoso_ros.inference.by_shape import ByShape
from yoso_ros.inference.engine_cache import engine_graph
from yoso_ros.inference.engines.devices import require_cpu
from yoso_ros.inference.export import INPUT_NAME

_LOG_ERRORS = 3  # severity: what it warns about while it optimises a graph is of no use to a user


class OnnxRuntimeEngine:
    """Runs an exported network with onnxruntime.

    Args:
        model: a `PanopticNetwork`; it stays as it is.
        threads: number of threads.
    """

    device = torch.device("cpu")
    backend = "onnxruntime-cpu-fp32"

    def __init__(self, model, threads):
        import onnxruntime

        self._outputs, self.size_divisor = model.Outputs, model.size_divisor

        options = onnxruntime.SessionOptions()
        options.log_severity_level = _LOG_ERRORS
        # A number, for the default pins each thread to a core, where another busy process may be.
        options.intra_op_num_threads = threads
        # Idle threads that spin take the core from whoever has work (docs/engines.md).
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")

        def session(shape):
            graph = engine_graph(model, shape)
            return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

        self._one_shape, self._sessions = model.config.onnx_is_of_one_shape, ByShape(session)
        if not self._one_shape:  # at once, for a start that needs time then, and not at the first frame
            self._sessions[None]

    def __call__(self, images):
        """images float32 (B, 3, H, W) -> `Outputs` of the network, float32 on the CPU."""
        # No copy for images that are channels-last in memory, as `batch_frames` makes them.
        frames = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        session = self._sessions[frames.shape[:3] if self._one_shape else None]
        outputs = session.run(list(self._outputs._fields), {INPUT_NAME: frames})
        return self._outputs(*map(torch.from_numpy, outputs))

    def synchronize(self):
        """Nothing to wait for: a call returns when it is done."""


def create_engine(model, device, precision):
    """Build an `OnnxRuntimeEngine`; precision "auto" is fp32.

    Raises:
        ImportError: onnxruntime is not installed.
        InputError: the device or the precision is none that it runs here, or the graph cannot be made.
    """
    import onnxruntime  # noqa: F401 - before the long way of an export

    require_cpu("onnxruntime", device)
    if precision not in ("auto", "fp32"):
        raise InputError(f"precision {precision} is not one of the onnxruntime engine; it runs fp32")
    return OnnxRuntimeEngine(model, torch.get_num_threads())
