# SPDX-License-Identifier: Apache-2.0
"""Engines run a network: `engine(images float32 (B, 3, H, W)) -> Outputs` of the network, torch tensors.

Every engine has `device` (where its outputs are), `backend` (a short name such as "torch-cpu-fp32"), `size_divisor`
(that of the network) and `synchronize()`. The outputs belong to the caller and are not changed by the next call.
Engines are not thread-safe.
"""

import importlib
import importlib.util
import logging

from yoso_ros.errors import InputError
from yoso_ros.inference.engines.devices import find_device

_LOG = logging.getLogger(__name__)

# engine name -> module with `create_engine(model, device, precision)`
ENGINES = {
    "torch": "yoso_ros.inference.engines.torch",
    "openvino": "yoso_ros.inference.engines.openvino",
    "onnxruntime": "yoso_ros.inference.engines.onnxruntime",
    "tensorrt": "yoso_ros.inference.engines.tensorrt",
}
ENGINE_NAMES = ("auto", *ENGINES)
PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
# What "auto" tries on each kind of device, fastest first (docs/engines.md).
AUTO_ORDER = {"cuda": ("tensorrt", "torch"), "cpu": ("openvino", "onnxruntime", "torch")}
_EXTRAS = {"tensorrt": "tensorrt,onnx"}  # extras of this package that an engine needs; by default those for the CPU


def create_engine(name, model, device, precision, engine_path=None, force_rebuild=False):
    """Build the named engine for a model; "auto" takes the fastest available one and logs which and why.

    Args:
        name: "auto" or a key of `ENGINES`; with precision int8, "auto" means openvino.
        model: a `PanopticNetwork` in evaluation mode; it is not changed.
        device: "auto", "cpu", "cuda", "cuda:N".
        precision: one of `PRECISIONS`.
        engine_path: tensorrt only: file for the built engine, None for the cache folder.
        force_rebuild: tensorrt only: rebuild the engine even if it is cached.

    Raises:
        InputError: unknown engine, device or precision, or one that cannot run here; the message says what can.
    """
    if name not in ENGINE_NAMES:
        raise InputError(f"engine: expected one of {', '.join(ENGINE_NAMES)}, found {name!r}")
    if precision not in PRECISIONS:
        raise InputError(f"precision: expected one of {', '.join(PRECISIONS)}, found {precision!r}")
    if (engine_path or force_rebuild) and name != "tensorrt":
        raise InputError(f"engine_path and force_rebuild are of engine tensorrt; the engine is {name}")
    if name == "auto" and precision == "int8":
        name = "openvino"  # the only one that has it; another's refusal would hide why there is no int8 graph
    if name == "auto":
        return _fastest_present(model, device, precision)
    options = {"engine_path": engine_path, "force_rebuild": force_rebuild} if name == "tensorrt" else {}
    try:
        return _create(name, model, device, precision, **options)
    except ImportError as error:
        raise InputError(
            f"engine {name}: its package is missing ({' '.join(str(error).split())}); "
            f"install yoso-ros[{_EXTRAS.get(name, 'cpu,onnx')}]"
        ) from error


def _create(name, model, device, precision, **options):
    return importlib.import_module(ENGINES[name]).create_engine(model, device, precision, **options)


def _fastest_present(model, device, precision):
    found = find_device(device)
    order = [(name, str(found)) for name in AUTO_ORDER[found.type]]
    reasons = []
    if device == "auto" and found.type == "cuda":
        order += [(name, "cpu") for name in AUTO_ORDER["cpu"]]
    elif device == "auto":
        reasons.append("no CUDA device found")
    for name, place in order[:-1]:
        # TensorRT builds its engines when the first frame arrives; a build that fails then must not stop everything.
        options = {"fallback": lambda: _create("torch", model, device, precision)} if name == "tensorrt" else {}
        try:
            engine = _create(name, model, place, precision, **options)
            break
        except Exception as error:  # whatever keeps an optional engine from starting, try the next one
            reasons.append(f"no {name}: {' '.join(str(error).split())[:200] or type(error).__name__}")
    else:
        name, place = order[-1]
        engine = _create(name, model, place, precision)
    # Said as a warning: a robot would run at a fraction of its speed and nobody would know why.
    slow = (name, place) == ("torch", "cpu") and importlib.util.find_spec("openvino") is None
    _LOG.log(
        logging.WARNING if slow else logging.INFO,
        "engine %s: the fastest that is present for device %s%s%s",
        engine.backend,
        engine.device.type,
        "".join(f"; {r}" for r in reasons),
        "; torch does the work, which is much slower: pip install openvino" if slow else "",
    )
    return engine
