# SPDX-License-Identifier: Apache-2.0
"""Batches of augmented samples, the same for a seed regardless of the number of processes, workers or restarts."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from yoso_ros.training.targets import Target


class TrainingSet(torch.utils.data.Dataset):
    """An endless, seeded sequence of augmented samples: item `i` depends only on (seed, i), also across workers.

    Args:
        dataset: indexable, with samples for `augment`.
        augment: (sample, numpy Generator) -> (image uint8 (h, w, 3), labels (n,), masks bool (n, h, w)).
        length: number of samples in the run.
        seed: of the run.
    """

    def __init__(self, dataset, augment, length, seed):
        self.dataset, self.augment, self.length, self.seed = dataset, augment, length, seed

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        epoch, position = divmod(index, len(self.dataset))
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.dataset))
        generator = np.random.default_rng((self.seed, epoch, position))
        return self.augment(self.dataset[int(order[position])], generator)


class ShareOfBatches:
    """A distributed batch sampler: the indices of one process, `size` at a time; the processes take turns.

    Args:
        start, stop: first index of the rest of the run, and end of the run.
        size: images per process and forward pass.
        rank, world_size: rank of this process, and number of processes.
    """

    def __init__(self, start, stop, size, rank, world_size):
        self.size, self.rank = size, rank
        self.starts = range(start, stop, size * world_size)

    def __len__(self):
        return len(self.starts)

    def __iter__(self):
        for start in self.starts:
            first = start + self.rank * self.size
            yield list(range(first, first + self.size))


def load_batches(samples, sampler, *, workers, device):
    """A DataLoader of (list of B images uint8 (3, h, w), list of B `Target`)."""
    return torch.utils.data.DataLoader(
        samples,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        worker_init_fn=_one_thread,
    )


def collate(samples):
    """Samples of any sizes to (list of images uint8 (3, h, w), list of `Target`)."""
    images = [torch.from_numpy(image).permute(2, 0, 1) for image, _, _ in samples]
    return images, [Target(torch.from_numpy(labels), torch.from_numpy(masks)) for _, labels, masks in samples]


def pad_batch(images, targets, pixel_mean, divisor):
    """Pad at the right and bottom to the largest image and to multiples of a divisor, as at inference.

    Args:
        images: list of B uint8 or float (3, h, w), RGB 0..255.
        targets: B `Target` with masks (n, h, w).
        pixel_mean: float (1, 3, 1, 1), on the device of the images; padding value of images. Masks are padded with 0.
        divisor: the network's `size_divisor`.

    Returns:
        (float (B, 3, H, W), channels-last in memory, targets of the padded size).
    """
    height, width = (-(-max(image.shape[axis] for image in images) // divisor) * divisor for axis in (1, 2))
    batch = pixel_mean.repeat(len(images), 1, height, width).contiguous(memory_format=torch.channels_last)
    for padded, image in zip(batch, images, strict=True):
        padded[:, : image.shape[1], : image.shape[2]] = image
    missing = [(0, width - image.shape[2], 0, height - image.shape[1]) for image in images]
    return batch, [Target(t.labels, F.pad(t.masks, pad)) for t, pad in zip(targets, missing, strict=True)]


def _one_thread(_worker):
    # The workers provide the parallelism; torch already limits each to one thread.
    cv2.setNumThreads(0)
