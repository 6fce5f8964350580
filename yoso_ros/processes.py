# SPDX-License-Identifier: Apache-2.0
"""Distribution of work over the processes of `torch.distributed`; a single process does all of it."""

import torch.distributed as dist


def is_distributed():
    """Whether this process works together with others."""
    return dist.is_available() and dist.is_initialized()


def rank():
    """Number of this process, 0 for the one that writes files and shows progress."""
    return dist.get_rank() if is_distributed() else 0


def world_size():
    """Number of processes that work together."""
    return dist.get_world_size() if is_distributed() else 1


def is_first():
    """Whether this process shows progress and writes files."""
    return rank() == 0


def share_of(indices):
    """This process's share of a sequence: every n-th with n processes."""
    return indices[rank() :: world_size()]


def gather(value):
    """The values of all processes in rank order, in every process: list.

    Args:
        value: anything that can be pickled.
    """
    if not is_distributed():
        return [value]
    values = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def reduce(metric):
    """The metric of the whole data set from those of the processes, in every process.

    Args:
        metric: has `merge`: `PanopticQuality`, `MeanIoU` or `AveragePrecision`. A single process gets it back itself.
    """
    whole, *others = gather(metric)
    for other in others:
        whole.merge(other)
    return whole
