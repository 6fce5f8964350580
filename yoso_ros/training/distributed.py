# SPDX-License-Identifier: Apache-2.0
"""Data-parallel training under torchrun: process group, reductions, and batch norm over the joint batch."""

import contextlib
import datetime
import os
import re

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.nn.functional import all_reduce

from yoso_ros.errors import InputError
from yoso_ros.processes import is_distributed

# Others may have to wait while a process finishes a larger share of a validation or writes files.
LONGEST_WAIT = datetime.timedelta(hours=3)


def join_processes(device):
    """Join the other processes of a torchrun launch; does nothing in a single process.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N"; auto is CUDA if available.

    Returns:
        torch.device of this process: with CUDA, the GPU of the local rank.

    Raises:
        InputError: the device is unknown, CUDA is absent, or there are more local processes than GPUs.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise InputError(f"--device: expected auto, cpu, cuda or cuda:N, found {device!r}")
    device, local_rank = torch.device(device), int(os.environ.get("LOCAL_RANK", 0))
    if device.type == "cuda":
        index = local_rank if device.index is None else device.index
        if index >= torch.cuda.device_count():
            raise InputError(f"expected a GPU {index} for this process, found {torch.cuda.device_count()} GPUs")
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=LONGEST_WAIT)
    return device


def leave_processes():
    """Leave the process group that `join_processes` joined."""
    if is_distributed():
        dist.destroy_process_group()


@contextlib.contextmanager
def one_of_machine_first():
    """Run the block in the first process of each machine, then in the others, so that files are fetched only once."""
    later = is_distributed() and int(os.environ.get("LOCAL_RANK", 0)) > 0
    if later:
        dist.barrier()
    yield
    if is_distributed() and not later:
        dist.barrier()


def mean_over_processes(values):
    """Mean of a tensor over the processes; no gradient flows through it."""
    if not is_distributed():
        return values
    values = values.detach().clone()
    dist.all_reduce(values)
    return values / dist.get_world_size()


def synchronize_batch_norms(model, device):
    """Make every batch norm of a model use the joint batch of all processes; returns the model (same keys)."""
    if not is_distributed():
        return model
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = _CpuSyncBatchNorm  # same state, different forward
    return model


class _CpuSyncBatchNorm(nn.BatchNorm2d):
    """Batch norm over the joint batch on CPUs, which `nn.SyncBatchNorm` does not support."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        count = torch.tensor(float(x.numel() // x.shape[1]), device=x.device)
        dist.all_reduce(count)
        mean = all_reduce(x.sum((0, 2, 3))) / count
        centred = x - mean.view(1, -1, 1, 1)
        variance = all_reduce(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
