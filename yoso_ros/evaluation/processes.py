# SPDX-License-Identifier: Apache-2.0
"""An evaluation that is shared out among the processes of `torch.distributed`; in a single process all is its own."""

import torch.distributed as dist


def share_of(indices):
    """This process's share of a sequence: every n-th with n processes."""
    return indices[dist.get_rank() :: dist.get_world_size()] if _is_distributed() else indices


def is_first():
    """Whether this process shows progress and writes files."""
    return not _is_distributed() or dist.get_rank() == 0


def gather(value):
    """The value of each process in the order of their ranks, in every process: list.

    Args:
        value: anything that can be pickled.
    """
    if not _is_distributed():
        return [value]
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def reduce(metric):
    """The metric of the whole data set from those of the processes, in every process.

    Args:
        metric: has `merge`: `PanopticQuality`, `MeanIoU` or `AveragePrecision`. It stays as it is unless it is alone.
    """
    whole, *others = gather(metric)
    for other in others:
        whole.merge(other)
    return whole


def _is_distributed():
    return dist.is_available() and dist.is_initialized()
