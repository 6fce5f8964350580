# SPDX-License-Identifier: Apache-2.0
"""The paper's tables on this machine: modules of Tables 5 and 6, Equations 2 and 10, settings of Tables 7 to 10.

Legend: `n` proposals, `d` hidden, `t` kernel size, `c2..c5` channels of the pyramid, `h w` stride-4 map.
"""

import copy
import dataclasses
import statistics
import time
from dataclasses import dataclass

import torch

from yoso_ros.benchmark.flops import count_flops
from yoso_ros.inference.preprocess import padded_size
from yoso_ros.models import create_model
from yoso_ros.models.fold import fold_batch_norms
from yoso_ros.models.yoso.aggregator import AGGREGATIONS
from yoso_ros.models.yoso.attention import ATTENTIONS
from yoso_ros.models.yoso.decoder import SeparableDynamicDecoder

# Table 5. Its caption says d=256, but its FLOPs are those of the authors' listing, which has 128 output channels, as
# the released models do; 256 would be 32.7 G and 4.1 G.
AGGREGATION_CHANNELS, AGGREGATION_OUTPUT, AGGREGATION_SIDE = (128, 256, 512, 1024), 128, 256
PROPOSALS, HIDDEN, KERNEL_SIZE = 100, 256, 3  # Table 6
PAPER_FLOPS = {"ifa": 16.6e9, "cfa": 2.1e9, "mhca": 31.5e6, "sdca": 5.4e6, "dca": 15.5e6, "pdca": 5.2e6, "ddca": 0.3e6}
PAPER_LATENCY_US = {"ifa": 4871, "cfa": 1877, "mhca": 2608, "sdca": 2183, "dca": 1701, "pdca": 1450, "ddca": 1242}
# Table -> (field of the configuration, {value: frames per second in the paper, on an RTX 3090})
PAPER_FPS = {
    7: ("num_attention_blocks", {1: 30.1, 2: 29.2, 3: 28.9, 4: 28.7}),
    8: ("kernel_size", {1: 30.6, 3: 29.2, 5: 28.3, 7: 27.6}),
    9: ("num_stages", {1: 30.1, 2: 29.2, 3: 28.9}),
    10: ("num_proposals", {50: 33.7, 100: 29.2, 150: 26.3, 200: 24.3}),
}
WARM_UP = 2  # rounds before those that are measured


@dataclass(frozen=True)
class ModuleCost:
    """One module: FLOPs in the paper's convention, median time of a call in microseconds."""

    name: str
    flops: int
    latency_us: float


def aggregation_inputs(device):
    """The pyramid P2..P5 of Table 5: list of float32 (1, c, h, w)."""
    return [
        torch.rand(1, c, AGGREGATION_SIDE >> level, AGGREGATION_SIDE >> level, device=device)
        for level, c in enumerate(AGGREGATION_CHANNELS)
    ]


def attention_inputs(device):
    """Query and value of Table 6: two float32 (1, n, d)."""
    return [torch.rand(1, PROPOSALS, HIDDEN, device=device) for _ in range(2)]


def _modules(device):
    """Name to (module, its inputs), on a device."""
    with torch.device(device):
        pyramid, tokens = [aggregation_inputs(device)], attention_inputs(device)
        modules = {n: (make(AGGREGATION_CHANNELS, AGGREGATION_OUTPUT), pyramid) for n, make in AGGREGATIONS.items()}
        # Uninitialised in the module itself: the neck fills it.
        torch.nn.init.xavier_uniform_(modules["ifa"][0].weight)
        modules |= {n: (make(HIDDEN, PROPOSALS, KERNEL_SIZE), tokens) for n, make in ATTENTIONS.items()}
    # In the order of the paper's tables.
    return {name: (modules[name][0].eval(), modules[name][1]) for name in PAPER_FLOPS}


def module_flops():
    """FLOPs of the modules of Tables 5 and 6: dict of name to int."""
    flops = {name: count_flops(module, *inputs) for name, (module, inputs) in _modules("meta").items()}
    for name in ("sdca", "ddca"):
        # The depthwise convolution is written as t shifted products, which is not one of the counted operations. The
        # authors add the products of their dynamic convolutions by hand as well (supplement C).
        flops[name] += PROPOSALS * HIDDEN * KERNEL_SIZE
    return flops


def measure_modules(device, rounds):
    """FLOPs and latency of the modules of Tables 5 and 6, interleaved.

    Args:
        device: torch device. rounds: measurements of each.

    Returns:
        list of `ModuleCost`.
    """
    modules = _modules(device)
    calls = {name: lambda module=module, inputs=inputs: module(*inputs) for name, (module, inputs) in modules.items()}
    flops = module_flops()
    return [ModuleCost(name, flops[name], 1e3 * ms) for name, ms in _medians_ms(calls, device, rounds).items()]


def aggregation_ratio(c5, c4, c3, c2, d):
    """FLOPs of IFA over those of CFA, Equation 2; h and w cancel. Numbers or arrays."""
    interpolation_first = 4 * (c5 + c4 + c3) + (c5 + c4 + c3 + c2) * d
    convolution_first = (c5 / 64 + c4 / 16 + c3 / 4 + c2) * d + 12 * d + 3 * d
    return interpolation_first / convolution_first


def attention_ratio(n, d, t):
    """FLOPs of multi-head cross-attention over those of SDCA, Equation 10. Numbers or arrays."""
    return (2 * d + n) / (t + n)


def measure_fps(config, size, device, rounds):
    """Frames per second of the network in the settings of Tables 7 to 10, interleaved, with random weights.

    The settings share one backbone and neck; the panoptic merge is not included.

    Args:
        config: the configuration whose fields are varied.
        size: (height, width) of the network input. device: torch device. rounds: measurements of each.

    Returns:
        dict of (table, value) to frames per second.
    """
    settings = {(table, v): {field: v} for table, (field, values) in PAPER_FPS.items() for v in values}
    model = fold_batch_norms(create_model(config)).to(device, memory_format=torch.channels_last)
    images = 255 * torch.rand(1, *padded_size([size], model.size_divisor), 3, device=device).permute(0, 3, 1, 2)
    calls = {}
    for setting in settings.values():
        variant = dataclasses.replace(config, **setting)
        if variant not in calls:
            network = copy.copy(model)
            network._modules = dict(model._modules)
            network.decoder = SeparableDynamicDecoder(variant).eval().to(device)
            calls[variant] = lambda network=network: network(images)
    spent = _medians_ms(calls, device, rounds)
    return {key: 1e3 / spent[dataclasses.replace(config, **setting)] for key, setting in settings.items()}


def _medians_ms(calls, device, rounds):
    """Median milliseconds of each callable, run alternately: dict of callables to dict of float."""
    synchronize = torch.cuda.synchronize if torch.device(device).type == "cuda" else lambda: None
    spent = {name: [] for name in calls}
    with torch.inference_mode():
        for turn in range(WARM_UP + rounds):
            for name, call in calls.items():
                synchronize()
                started = time.perf_counter()
                call()
                synchronize()
                if turn >= WARM_UP:
                    spent[name].append(1e3 * (time.perf_counter() - started))
    return {name: statistics.median(times) for name, times in spent.items()}
