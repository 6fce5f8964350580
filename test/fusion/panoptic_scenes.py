# SPDX-License-Identifier: Apache-2.0
"""Random proposals that look like panoptic ones, for the tests of the merge."""

from types import SimpleNamespace

import numpy as np
import torch
from torch.nn import functional

CLASSES = 9
THINGS = (1, 3, 4, 7)


def merge_config(score_threshold, overlap_threshold, thing_ids=THINGS):
    """The three numbers of a model configuration that the merge reads."""
    return SimpleNamespace(
        score_threshold=score_threshold,
        overlap_threshold=overlap_threshold,
        label_set=SimpleNamespace(thing_ids=tuple(thing_ids)),
    )


def even_sigmoid(logits):
    """`torch.sigmoid` without the rest of a block that torch evaluates by another formula, one float32 step off.

    With it equal logits have equal probabilities wherever they lie, so that ties are ties.
    """
    flat = logits.flatten()
    return functional.pad(flat, (0, -len(flat) % 4096)).sigmoid()[: len(flat)].view(logits.shape)


def random_scene(rng, proposals, cells, kind):
    """Class logits (N, C+1) and mask logits (N, *cells) of one of `KINDS`."""
    height, width = cells
    y, x = np.mgrid[0:height, 0:width]
    center_y, center_x = rng.uniform(0, height, proposals), rng.uniform(0, width, proposals)
    distance = np.hypot(y - center_y[:, None, None], x - center_x[:, None, None])
    distance -= rng.uniform(0, 0.2 * min(cells), proposals)[:, None, None]
    nearest = np.sort(distance, 0)[:2]
    other = np.where(nearest[0] == distance, nearest[-1], nearest[0]) if proposals > 1 else 5.0
    masks = (other - distance) * rng.uniform(0.2, 4.0) + rng.uniform(0, 0.5) * rng.standard_normal(distance.shape)
    classes = rng.standard_normal((proposals, CLASSES + 1))
    certain = rng.random(proposals) < rng.uniform(0.2, 1.0)
    classes[np.arange(proposals), np.where(certain, rng.integers(0, CLASSES, proposals), CLASSES)] += rng.uniform(3, 9)
    if kind == "noise":
        masks = rng.standard_normal(masks.shape) * rng.uniform(0.1, 10.0)
    elif kind == "saturated":
        masks, classes = masks * 60.0, classes * 40.0
    elif kind == "ties":
        masks, twin = np.round(masks / 4) * 4, rng.integers(0, proposals, proposals)
        masks, classes = masks[twin], np.round(classes)[twin]
    elif kind == "faint":
        masks -= rng.uniform(0.0, 3.0)
    elif kind == "negative":
        masks = -np.abs(masks) - 150.0 * rng.random()
    elif kind == "hidden":
        twin = rng.integers(0, max(1, proposals // 4), proposals)
        masks = masks[twin] + rng.uniform(-2.0, 2.0, (proposals, 1, 1))
    elif kind == "void":
        classes[:, -1] += 50.0
    return torch.from_numpy(classes.astype(np.float32)), torch.from_numpy(masks.astype(np.float32))


def soft_scene(rng, proposals, cells, step=0.0):
    """As `random_scene`, of smooth masks that overlap and fade; `step` rounds the logits, which makes ties."""
    coarse = torch.from_numpy(rng.standard_normal((1, proposals, 4, 5)))
    masks = functional.interpolate(coarse, cells, mode="bicubic")[0] * rng.uniform(4, 9) - rng.uniform(2, 7)
    classes = torch.from_numpy(rng.standard_normal((proposals, CLASSES + 1)))
    classes[:, -1] -= 3.0
    classes[np.arange(proposals), rng.integers(0, CLASSES, proposals)] += torch.from_numpy(rng.uniform(2, 7, proposals))
    if step:
        masks, classes = (masks / step).round() * step, classes.round()
    return classes.float(), masks.float()


KINDS = ("cells", "hidden", "noise", "saturated", "ties", "faint", "negative", "void")
