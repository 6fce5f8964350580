# SPDX-License-Identifier: Apache-2.0
"""The TensorRT engine: a CUDA device, one built engine per frame shape, CUDA graphs around it.

No part of it has been run with the library or on a GPU (docs/gpu.md); the tests stop at the library's interface.
"""

import contextlib
import hashlib
import logging
import re
import time
from pathlib import Path

import torch

from yoso_ros.errors import InputError
from yoso_ros.inference.cuda_graphs import GraphedNetwork
from yoso_ros.inference.engine_cache import cache_folder, engine_graph
from yoso_ros.inference.engine_files import engine_file_name, read_engine, write_engine
from yoso_ros.inference.engines.devices import find_device
from yoso_ros.inference.export import INPUT_NAME
from yoso_ros.inference.onnx_precision import reduce_precision
from yoso_ros.inference.tensorrt_build import build_engine, builder_options, create_logger

_LOG = logging.getLogger(__name__)
PRECISIONS = ("fp32", "fp16", "bf16")


class TensorRtEngine:
    """Runs a network with TensorRT; builds an engine when a shape first occurs, which takes minutes, and stores it.

    Args:
        trt: the module `tensorrt`.
        model: a `PanopticNetwork`; it is not changed.
        device: torch device.
        precision: "fp32", "fp16" or "bf16" (the latter two with float32 islands, see `onnx_precision`).
        engine_path: engine file for the first shape; None for one in the cache folder.
        force_rebuild: do not use stored engines.
        fallback: function that creates the engine to use if none can be built; None raises the error.
    """

    def __init__(self, trt, model, device, precision, engine_path=None, force_rebuild=False, fallback=None):
        self.device, self.backend = device, f"tensorrt-{device.type}-{precision}"
        self._trt, self._model, self._precision = trt, model, precision
        self._outputs, self.size_divisor = model.Outputs, model.size_divisor
        self._engine_path, self._force_rebuild = engine_path, force_rebuild
        self._create_fallback, self._fallback = fallback, None
        self._logger = create_logger(trt)
        trt.init_libnvinfer_plugins(self._logger, "")
        self._runtime = trt.Runtime(self._logger)
        self._gpu, self._capability = _describe(device)
        self._runners = {}  # never dropped, because a CUDA graph may hold their addresses
        self._graphed = GraphedNetwork(self.forward, device)

    def forward(self, images):
        """images float32 (B, 3, H, W) on the device -> `Outputs` of the network, without waiting; see `DevicePath`."""
        if self._fallback is None:
            shape = (images.shape[0], *images.shape[2:])
            if shape not in self._runners:
                self._add_runner(shape)
        if self._fallback is not None:
            return self._fallback.forward(images)
        return self._outputs(*self._runners[shape](images))

    def __call__(self, images):
        """images float32 (B, 3, H, W) on any device -> `Outputs` of the network, float32 on the engine's device."""
        return self._outputs(*self._graphed(images))

    def synchronize(self):
        """Wait until the device has finished, so that timings taken afterwards are meaningful."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _add_runner(self, shape):
        try:
            with torch.cuda.device(self.device) if self.device.type == "cuda" else contextlib.nullcontext():
                self._runners[shape] = self._load_or_build(shape)
        except Exception as error:  # with "auto", whatever prevents the build must not prevent inference
            if self._create_fallback is None:
                raise
            self._fallback = self._create_fallback()
            _LOG.warning("engine %s from now on: no TensorRT engine: %s", self._fallback.backend, error)

    def _load_or_build(self, shape):
        graph = self._graph(shape)
        options = builder_options(self._precision)
        key = {
            "graph": hashlib.sha256(graph).hexdigest(),
            "tensorrt": self._trt.__version__,
            "gpu": self._gpu,
            "capability": self._capability,
            "precision": self._precision,
            "shape": list(shape),
            "options": options,
        }
        path = cache_folder() / engine_file_name(self._model.config.name, key)
        if self._engine_path and not self._runners:
            path = Path(self._engine_path)
        plan, reason = read_engine(path, key)
        if self._force_rebuild:
            plan, reason = None, "a rebuild was requested"
        if plan is not None:
            runner = self._runner(plan, shape)
            if runner is not None:
                _LOG.info("TensorRT engine %s", path)
                return runner
            reason = "TensorRT cannot load it"
        _LOG.info("building the TensorRT engine %s, which takes minutes: %s", path, reason)
        started = time.perf_counter()
        timing_cache = cache_folder() / f"tensorrt-{self._trt.__version__}-{re.sub(r'[^A-Za-z0-9]+', '-', self._gpu)}"
        plan = build_engine(
            self._trt, self._logger, graph, options, timing_cache.with_name(f"{timing_cache.name}.timing")
        )
        runner = self._runner(plan, shape)
        if runner is None:
            raise InputError(f"TensorRT {self._trt.__version__} cannot load the engine that it has built; see the log")
        write_engine(path, key, plan)
        _LOG.info("built in %.0f s", time.perf_counter() - started)
        return runner

    def _graph(self, shape):
        graph = engine_graph(self._model, shape, "tensorrt")
        if self._precision == "fp32":
            return graph
        import onnx

        proto = reduce_precision(onnx.load_from_string(graph), self._precision, self._model.feature_modules)
        return proto.SerializeToString(deterministic=True)

    def _runner(self, plan, shape):
        engine = self._runtime.deserialize_cuda_engine(plan)
        return None if engine is None else _Runner(self._trt, engine, shape, self._outputs._fields, self.device)


class _Runner:
    """One engine, ready to run on frames of its shape; `output_names` in the network's order."""

    def __init__(self, trt, engine, shape, output_names, device):
        self._engine, self._device = engine, device
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        if set(names) != {INPUT_NAME, *output_names}:
            raise InputError(f"expected an engine with {INPUT_NAME} and {', '.join(output_names)}, found {names}")
        for name in names:
            if engine.get_tensor_dtype(name) != trt.DataType.FLOAT:
                raise InputError(f"expected an engine with {name} in float32, found {engine.get_tensor_dtype(name)}")
        found = tuple(engine.get_tensor_shape(INPUT_NAME))
        if found != (*shape, 3):
            raise InputError(f"expected an engine for frames {(*shape, 3)}, found one for {found}")
        self._shapes = {name: tuple(engine.get_tensor_shape(name)) for name in output_names}
        self._context = engine.create_execution_context()
        if self._context is None:
            raise InputError(
                "TensorRT has not enough memory for its engine; use a smaller model, fewer cameras, or engine torch"
            )

    def __call__(self, images):
        # No copy for images that are channels-last in memory, as from both kinds of preprocessing.
        frames = images.permute(0, 2, 3, 1).contiguous()
        outputs = {name: torch.empty(shape, device=self._device) for name, shape in self._shapes.items()}
        for name, tensor in {INPUT_NAME: frames, **outputs}.items():
            if not self._context.set_tensor_address(name, tensor.data_ptr()):
                raise RuntimeError(f"TensorRT does not accept the memory of {name}")
        stream = torch.cuda.current_stream(self._device).cuda_stream if self._device.type == "cuda" else 0
        if not self._context.execute_async_v3(stream):
            raise RuntimeError("TensorRT could not run the engine; its errors are in the log")
        return tuple(outputs.values())


def _describe(device):
    """Name and compute capability of a GPU; an engine runs only on the kind of GPU it was built on."""
    if device.type != "cuda":
        return "none", "none"
    return torch.cuda.get_device_name(device), ".".join(map(str, torch.cuda.get_device_capability(device)))


def create_engine(model, device, precision, engine_path=None, force_rebuild=False, fallback=None):
    """Build a `TensorRtEngine`; precision "auto" is fp32. See that class for the other arguments.

    Raises:
        ImportError: tensorrt or its libraries are not installed.
        InputError: there is no CUDA device, or the precision is not supported.
    """
    # Check before touching the library: without a device its Runtime ends the process.
    if not torch.cuda.is_available():
        raise InputError("the tensorrt engine needs a CUDA device, and torch finds none here; use engine auto")
    device = find_device("cuda" if device == "auto" else device)
    if device.type != "cuda":
        raise InputError(f"the tensorrt engine runs on a CUDA device, not on {device}; use device cuda or auto")
    precision = "fp32" if precision == "auto" else precision
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision} is not one of the tensorrt engine; it runs {', '.join(PRECISIONS)}")
    import tensorrt

    if device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    return TensorRtEngine(tensorrt, model, device, precision, engine_path, force_rebuild, fallback)
