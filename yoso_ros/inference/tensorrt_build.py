# SPDX-License-Identifier: Apache-2.0
"""ONNX graphs to TensorRT engines, for TensorRT 10.1 and later and 11.

Only features common to both are used: the network is strongly typed, so the graph determines the precisions, not the
builder flags.
"""

import logging
import time

from tqdm import tqdm

from yoso_ros.errors import InputError
from yoso_ros.inference.kept_files import read_kept, write_kept

_LOG = logging.getLogger(__name__)
OPTIMIZATION_LEVEL = 3  # TensorRT's default
WORKSPACE_BYTES = 2 << 30  # the columns of the deformable convolutions take 0.2 GiB at 800x1344
PROGRESS_PERIOD_S = 10.0  # between two lines about a build in the log


def builder_options(precision):
    """Builder settings that determine the engine: dict of plain values. TF32 would not be float32."""
    return {
        "optimization_level": OPTIMIZATION_LEVEL,
        "workspace_bytes": WORKSPACE_BYTES,
        "tf32": precision != "fp32",
    }


def create_logger(trt):
    """A TensorRT logger that writes to this package's log, without the notes about every layer."""
    levels = {
        trt.ILogger.Severity.INTERNAL_ERROR: logging.ERROR,
        trt.ILogger.Severity.ERROR: logging.ERROR,
        trt.ILogger.Severity.WARNING: logging.WARNING,
        trt.ILogger.Severity.INFO: logging.DEBUG,
    }

    class Logger(trt.ILogger):
        def __init__(self):
            trt.ILogger.__init__(self)

        def log(self, severity, message):
            if severity in levels:
                _LOG.log(levels[severity], "TensorRT: %s", message)

    return Logger()


def build_engine(trt, logger, graph, options, timing_cache):
    """Build an engine, which takes minutes. Progress is shown as a bar on a terminal and as occasional log lines.

    Args:
        trt: the module `tensorrt`.
        logger: the result of `create_logger`.
        graph: bytes of an ONNX graph for one shape, with its precisions encoded.
        options: the result of `builder_options`.
        timing_cache: pathlib.Path of the layer timings from earlier builds with this TensorRT and GPU.

    Returns:
        bytes of the serialised engine.

    Raises:
        InputError: TensorRT cannot read the graph or build an engine from it.
    """
    trt.init_libnvinfer_plugins(logger, "")  # the deformable convolution is one
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph):
        errors = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise InputError(f"TensorRT {trt.__version__} cannot read the graph: {errors}")
    config = builder.create_builder_config()
    config.builder_optimization_level = options["optimization_level"]
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options["workspace_bytes"])
    if not options["tf32"]:
        config.clear_flag(trt.BuilderFlag.TF32)
    cache = config.create_timing_cache(read_kept(timing_cache) or b"")
    config.set_timing_cache(cache, False)
    with _Progress(trt, config):
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise InputError(f"TensorRT {trt.__version__} cannot build an engine from the graph; its errors are in the log")
    write_kept(timing_cache, bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


class _Progress:
    """Shows the progress of a build if this TensorRT reports it; must be kept while the build runs."""

    def __init__(self, trt, config):
        self._monitor = None
        if hasattr(trt, "IProgressMonitor"):
            self._monitor = config.progress_monitor = _create_monitor(trt)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self._monitor is not None:
            self._monitor.close()


def _create_monitor(trt):
    class Monitor(trt.IProgressMonitor):
        def __init__(self):
            trt.IProgressMonitor.__init__(self)
            self._bars, self._steps, self._told = {}, {}, time.monotonic()

        def phase_start(self, phase_name, parent_phase, num_steps):
            # Only on a terminal; elsewhere the log shows the progress.
            self._bars[phase_name] = tqdm(total=num_steps, desc=phase_name, leave=False, disable=None)
            self._steps[phase_name] = 0, num_steps

        def step_complete(self, phase_name, step):
            if phase_name in self._bars:
                self._bars[phase_name].update()
                done, of = self._steps[phase_name]
                self._steps[phase_name] = done + 1, of
            if time.monotonic() - self._told >= PROGRESS_PERIOD_S:
                self._told = time.monotonic()
                phases = (f"{name} {done} of {of}" for name, (done, of) in self._steps.items())
                _LOG.info("building the TensorRT engine: %s", ", ".join(phases))
            return True  # False would cancel the build

        def phase_finish(self, phase_name):
            bar = self._bars.pop(phase_name, None)
            self._steps.pop(phase_name, None)
            if bar is not None:
                bar.close()

        def close(self):
            for name in list(self._bars):
                self.phase_finish(name)

    return Monitor()
