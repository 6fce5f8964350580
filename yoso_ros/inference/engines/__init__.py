# SPDX-License-Identifier: Apache-2.0
"""Engines run a network: `engine(images float32 (B, 3, H, W)) -> (class_logits, mask_logits)`, torch tensors.

Every engine has `device` (where its outputs are), `backend` (a short name such as "torch-cpu-fp32") and
`synchronize()`. The outputs are the caller's: the next call does not change them. One thread at a time.
"""

import importlib
import logging

from yoso_ros.errors import InputError
from yoso_ros.inference.engines.devices import find_device

_LOG = logging.getLogger(__name__)

# engine name -> module with `create_engine(model, device, precision)`
ENGINES = {
    "torch": "yoso_ros.inference.engines.torch",
    "openvino": "yoso_ros.inference.engines.openvino",
    "onnxruntime": "yoso_ros.inference.engines.onnxruntime",
}
ENGINE_NAMES = ("auto", *ENGINES)
PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
# What "auto" tries, the fastest first (docs/engines.md).
AUTO_ORDER = {"cuda": ("torch",), "cpu": ("openvino", "onnxruntime", "torch")}


def create_engine(name, model, device, precision):
    """Build the engine of that name for a model; "auto" takes the fastest that is present and says which and why.

    Raises:
        InputError: unknown engine, device or precision, or one that cannot run here; says what can.
    """
    if name not in ENGINE_NAMES:
        raise InputError(f"engine: expected one of {', '.join(ENGINE_NAMES)}, found {name!r}")
    if precision not in PRECISIONS:
        raise InputError(f"precision: expected one of {', '.join(PRECISIONS)}, found {precision!r}")
    if name == "auto":
        return _fastest_present(model, device, precision)
    try:
        return _create(name, model, device, precision)
    except ImportError as error:
        raise InputError(f"engine {name}: its package is missing ({error}); install yoso-ros[cpu,onnx]") from error


def _create(name, model, device, precision):
    return importlib.import_module(ENGINES[name]).create_engine(model, device, precision)


def _fastest_present(model, device, precision):
    kind = find_device(device).type
    *preferred, last = AUTO_ORDER[kind]
    reasons = []
    for name in preferred:
        try:
            engine = _create(name, model, device, precision)
            break
        except Exception as error:  # whatever keeps an optional engine from starting, the next one does the work
            reasons.append(f"no {name}: {' '.join(str(error).split())[:200] or type(error).__name__}")
    else:
        engine = _create(last, model, device, precision)
    _LOG.info(
        "engine %s: the fastest that is present for device %s%s",
        engine.backend,
        kind,
        "".join(f"; {r}" for r in reasons),
    )
    return engine
