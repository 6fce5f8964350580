# SPDX-License-Identifier: Apache-2.0
"""The limits of a CPU: measured FLOPs and bytes per second, and the minimum time of a network that follows from them.

A multiply-accumulate is one FLOP, as in `flops`.
"""

import time

import numpy as np
import torch

from yoso_ros.benchmark.flops import FlopCounter
from yoso_ros.errors import InputError
from yoso_ros.inference.openvino_graph import process_core
from yoso_ros.inference.precision import float_parts
from yoso_ros.inference.preprocess import padded_size
from yoso_ros.models import create_model
from yoso_ros.models.deformable_conv import ModulatedDeformConv2d

# A convolution that keeps the arithmetic units busy, because its maps and weights fit into the caches.
CHANNELS, MAP, KERNEL = 256, (32, 48), 3
COPIED_BYTES = 1 << 27
TRIES = 60  # the fastest one counts: the bound describes the machine, not its other load
LEVELS = 255  # steps of an int8 quantisation


def measured_peak(precision, threads):
    """FLOPs per second of one large convolution in OpenVINO, the fastest library for convolutions here.

    Args:
        precision: "fp32", "bf16" or "int8". threads: int.

    Raises:
        InputError: openvino is not installed.
    """
    try:
        import openvino
        from openvino import opset8 as opset
    except ImportError as error:
        raise InputError(f"bounds are measured with openvino (pip install yoso-ros[cpu]): {error}") from error
    rng = np.random.default_rng(0)
    frames = rng.standard_normal((1, CHANNELS, *MAP), np.float32)
    weights = opset.constant(rng.standard_normal((CHANNELS, CHANNELS, KERNEL, KERNEL), np.float32))
    given = opset.parameter(frames.shape, np.float32)
    source = given
    if precision == "int8":
        limits = [opset.constant(np.float32(limit)) for limit in (-4.0, 4.0)]
        source = opset.fake_quantize(source, *limits, *limits, LEVELS + 1)
        weights = opset.fake_quantize(weights, *limits, *limits, LEVELS)
    pads = [KERNEL // 2] * 2
    convolution = opset.convolution(source, weights, [1, 1], pads, pads, [1, 1])
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    # Only the maximum is an output, because writing the whole map in float32 is not arithmetic.
    model = openvino.Model([opset.reduce_max(convolution, opset.constant([1, 2, 3]))], [given])
    request = process_core().compile_model(model, "CPU", options).create_infer_request()
    flops = CHANNELS * CHANNELS * KERNEL * KERNEL * MAP[0] * MAP[1]
    return flops / _least_seconds(lambda: request.infer([frames], share_inputs=True))


def measured_bandwidth():
    """Bytes per second of a copy between two large tensors; both reads and writes count."""
    source = torch.ones(COPIED_BYTES, dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * COPIED_BYTES / _least_seconds(lambda: target.copy_(source))


def network_flops(config, size):
    """FLOPs of one frame as the engines compute it, by kind of operation.

    Args:
        config: a model configuration. size: (height, width) of the network input.

    Returns:
        dict: "convolutions" of the feature modules; "sampling", the deformable convolutions; "head".
    """
    with torch.device("meta"):
        network = create_model(config).reparameterize()
        images = torch.empty(1, 3, *padded_size([size], network.size_divisor))
    kinds = {getattr(network, name): "head" for name in float_parts(network)}
    kinds |= {m: "sampling" for m in network.modules() if isinstance(m, ModulatedDeformConv2d)}
    with torch.no_grad(), FlopCounter() as counter:
        counter.part = "convolutions"
        for module, kind in kinds.items():
            module.register_forward_pre_hook(lambda *_, kind=kind: setattr(counter, "part", kind))
            module.register_forward_hook(lambda *_: setattr(counter, "part", "convolutions"))
        network(images)
    return {kind: counter.by_part[kind] for kind in ("convolutions", "sampling", "head")}


def arithmetic_bound_ms(flops, precision, peaks):
    """Minimum milliseconds of a frame in an OpenVINO engine: all units busy, nothing waits for memory.

    Args:
        flops: of `network_flops`. precision: of the engine. peaks: dict of precision to `measured_peak`.
    """
    # As in the engine: deformable convolutions are always float32, and int8 has a bfloat16 head.
    used = {"convolutions": precision, "sampling": "fp32", "head": "bf16" if precision == "int8" else precision}
    return 1e3 * sum(flops[kind] / peaks[used[kind]] for kind in used)


def _least_seconds(call):
    spent = []
    for _ in range(TRIES):
        started = time.perf_counter()
        call()
        spent.append(time.perf_counter() - started)
    return min(spent)
