# SPDX-License-Identifier: Apache-2.0
"""Parameter groups, frozen stages, learning-rate schedules and weight averaging."""

import copy

import torch
from torch import nn

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


def create_optimizer(model, config):
    """AdamW or SGD: no weight decay in norm layers (biases elsewhere do decay), lower learning rate in the backbone.

    Args:
        model: has a `backbone`.
        config: a `TrainingConfig`.
    """
    norms = {id(p) for m in model.modules() if isinstance(m, _NORMS) for p in m.parameters(recurse=False)}
    groups = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = config.learning_rate * (config.backbone_multiplier if name.startswith("backbone.") else 1.0)
        decay = 0.0 if id(parameter) in norms else config.weight_decay
        groups.setdefault((rate, decay), []).append(parameter)
    groups = [{"params": p, "lr": rate, "weight_decay": d} for (rate, d), p in groups.items()]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=config.momentum)
    return torch.optim.AdamW(groups)


def freeze_stages(backbone, count):
    """Exclude the first `count` stages of a backbone (the stem is the first) from training."""
    for stage in backbone.stages()[:count]:
        for module in stage:
            module.requires_grad_(False)


def learning_rate_factor(iteration, config):
    """Factor of the learning rate at an iteration (0-based): linear warm-up, then poly or steps."""
    if iteration < config.warmup_iterations:
        progress = (iteration + 1) / config.warmup_iterations
        return config.warmup_factor + (1 - config.warmup_factor) * progress
    if config.schedule == "poly":
        return (1 - iteration / config.iterations) ** config.poly_power
    return config.step_factor ** sum(iteration >= step for step in config.steps)


class WeightAverage:
    """Exponential moving average of a model's weights, with the usual warm-up of the decay.

    Args:
        model: the model in training.
        decay: fraction of the old average kept at each step.
    """

    def __init__(self, model, decay):
        self.decay = decay
        self.updates = 0
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model):
        """Update the average with the model's weights; integer buffers are copied."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for average, value in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if average.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)
