# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the module `tensorrt`, for tests without the library: its names in the releases 10 and 11.

What was removed in 11 raises AttributeError there, as any name that the table does not know. An engine is the ONNX
graph itself, and runs in onnxruntime on the memory at the addresses that it was given: so shapes, types, names and
layouts that the caller gets wrong give wrong numbers here too. It can show nothing about TensorRT itself.
"""

import ctypes
from enum import IntEnum
from types import SimpleNamespace

import numpy as np

PLAN = b"plan of "


class _Severity(IntEnum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class _DataType(IntEnum):
    FLOAT, HALF, UINT8 = 0, 1, 7


class _ILogger:
    Severity = _Severity

    def __init__(self):
        self.initialised = True


class _IProgressMonitor:
    def __init__(self):
        self.initialised = True


def fake_tensorrt(version, progress=True):
    """A module of that version with a record of calls in `calls`: list of (name, arguments).

    `fail` holds the names of steps that are to fail: "parse", "build", "deserialize", "execute".
    """
    calls, fail = [], set()
    eleven = int(version.split(".")[0]) >= 11
    creation = {"STRONGLY_TYPED": 1} if eleven else {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}
    flags = {"TF32": 7, "VERSION_COMPATIBLE": 13} | ({} if eleven else {"FP16": 0, "INT8": 1, "BF16": 17})

    def plugins(logger, namespace):
        assert logger.initialised and namespace == ""
        calls.append(("init_libnvinfer_plugins",))
        return True

    class Cache:
        def __init__(self, content):
            self.content = content

        def serialize(self):
            return memoryview(self.content + b"+timings")

    class Config:
        __slots__ = ("builder_optimization_level", "progress_monitor", "cache")

        def set_memory_pool_limit(self, pool, size):
            calls.append(("set_memory_pool_limit", pool, size))

        def clear_flag(self, flag):
            calls.append(("clear_flag", flag))

        def create_timing_cache(self, content):
            assert isinstance(content, bytes)
            calls.append(("create_timing_cache", content))
            return Cache(content)

        def set_timing_cache(self, cache, ignore_mismatch):
            assert not ignore_mismatch
            self.cache = cache
            return True

        def get_timing_cache(self):
            return self.cache

    class Builder:
        def __init__(self, logger):
            assert logger.initialised and ("init_libnvinfer_plugins",) in calls, "plugins are not registered"

        def create_network(self, creation_flags):
            assert creation_flags == 1 << 1, "expected a strongly typed network and nothing else"
            return SimpleNamespace(graph=None)

        def create_builder_config(self):
            return Config()

        def build_serialized_network(self, network, config):
            calls.append(("build", config.builder_optimization_level))
            monitor = getattr(config, "progress_monitor", None)
            if monitor is not None:
                assert monitor.initialised
                monitor.phase_start("Building Engine", None, 2)
                monitor.phase_start("Timing", "Building Engine", 3)
                assert all(monitor.step_complete("Timing", step) is True for step in range(3))
                monitor.phase_finish("Timing")
                assert monitor.step_complete("Building Engine", 0) is True  # and not finished, as in a failed build
            return None if "build" in fail else memoryview(PLAN + network.graph)

    class Parser:
        num_errors = 1

        def __init__(self, network, logger):
            self.network = network

        def parse(self, graph):
            assert isinstance(graph, bytes)
            self.network.graph = graph
            return "parse" not in fail

        def get_error(self, index):
            assert index == 0
            return SimpleNamespace(desc=lambda: "In node 7: unsupported operator")

    class Runtime:
        def __init__(self, logger):
            assert logger.initialised
            calls.append(("Runtime",))

        def deserialize_cuda_engine(self, plan):
            assert isinstance(plan, bytes)
            calls.append(("deserialize",))
            return None if "deserialize" in fail or not plan.startswith(PLAN) else Engine(plan[len(PLAN) :])

    class Engine:
        def __init__(self, graph):
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
            self._tensors = {value.name: value for value in (*self.session.get_inputs(), *self.session.get_outputs())}
            self.num_io_tensors = len(self._tensors)

        def get_tensor_name(self, index):
            return list(self._tensors)[index]

        def get_tensor_dtype(self, name):
            return {"tensor(float)": _DataType.FLOAT, "tensor(float16)": _DataType.HALF}[self._tensors[name].type]

        def get_tensor_shape(self, name):
            return self._tensors[name].shape

        def create_execution_context(self):
            return Context(self)

    class Context:
        def __init__(self, engine):
            self._engine, self._addresses = engine, {}

        def set_tensor_address(self, name, address):
            assert isinstance(address, int)
            self._addresses[name] = address
            return True

        def execute_async_v3(self, stream):
            assert isinstance(stream, int)
            calls.append(("execute",))
            if "execute" in fail:
                return False

            def memory(name):
                shape = self._engine.get_tensor_shape(name)
                pointer = ctypes.cast(self._addresses[name], ctypes.POINTER(ctypes.c_float))
                return np.ctypeslib.as_array(pointer, shape)

            session = self._engine.session
            outputs = session.run(None, {value.name: memory(value.name) for value in session.get_inputs()})
            for value, output in zip(session.get_outputs(), outputs, strict=True):
                memory(value.name)[...] = output
            return True

    names = {"IProgressMonitor": _IProgressMonitor} if progress else {}
    return SimpleNamespace(
        __version__=version,
        calls=calls,
        fail=fail,
        ILogger=_ILogger,
        DataType=_DataType,
        MemoryPoolType=SimpleNamespace(WORKSPACE="workspace"),
        NetworkDefinitionCreationFlag=IntEnum("NetworkDefinitionCreationFlag", creation),
        BuilderFlag=IntEnum("BuilderFlag", flags),
        init_libnvinfer_plugins=plugins,
        Builder=Builder,
        OnnxParser=Parser,
        Runtime=Runtime,
        **names,
    )
