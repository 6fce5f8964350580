# SPDX-License-Identifier: Apache-2.0
"""Engines run a network: `engine(images float32 (B, 3, H, W)) -> (class_logits, mask_logits)`, torch tensors.

Every engine has `device` (where its outputs are) and `backend` (a short name such as "torch-cpu-fp32").
"""

import importlib

from yoso_ros.errors import InputError

# engine name -> module with `create_engine(model, device, precision)`
ENGINES = {"torch": "yoso_ros.inference.engines.torch"}
ENGINE_NAMES = ("auto", *ENGINES)
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def create_engine(name, model, device, precision):
    """Build the engine of that name ("auto": torch) for a model.

    Raises:
        InputError: unknown engine or precision, or one that cannot run here; says what can.
    """
    if name not in ENGINE_NAMES:
        raise InputError(f"engine: expected one of {', '.join(ENGINE_NAMES)}, found {name!r}")
    if precision not in PRECISIONS:
        raise InputError(f"precision: expected one of {', '.join(PRECISIONS)}, found {precision!r}")
    module = importlib.import_module(ENGINES["torch" if name == "auto" else name])
    return module.create_engine(model, device, precision)
