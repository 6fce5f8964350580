# SPDX-License-Identifier: Apache-2.0
"""The library for COCO's masks and AP: faster-coco-eval if it is installed, otherwise pycocotools.

Legend: `K` masks; `H W` size of an image in pixels.
"""

import functools
from types import SimpleNamespace
from typing import Any

import numpy as np

from yoso_ros.errors import InputError


@functools.cache
def load_coco_api() -> SimpleNamespace:
    """The classes `index` (COCO) and `evaluation` (COCOeval) and the module `masks` of the library, and its `name`.

    Raises:
        InputError: neither is installed.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster, mask

        return SimpleNamespace(name="faster-coco-eval", index=COCO, evaluation=COCOeval_faster, masks=mask)
    except ImportError:
        pass
    try:
        from pycocotools import mask
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        return SimpleNamespace(name="pycocotools", index=COCO, evaluation=COCOeval, masks=mask)
    except ImportError as error:
        raise InputError(
            'mask AP needs faster-coco-eval or pycocotools, found neither; pip install "yoso-ros[train]"'
        ) from error


def run_lengths(masks: list[np.ndarray] | np.ndarray) -> list[dict[str, Any]]:
    """COCO's compressed run lengths of masks: bool (K, H, W) to list of dict with `size` (H, W) and `counts`."""
    if not len(masks):
        return []
    # The library expects (H, W, K) with each mask stored column by column.
    columns = np.ascontiguousarray(np.asarray(masks).transpose(0, 2, 1)).view(np.uint8)
    return load_coco_api().masks.encode(columns.T)


def run_lengths_of_segmentation(segmentation: list[Any] | dict[Any, Any], height: int, width: int) -> dict[str, Any]:
    """Run lengths of an annotation's `segmentation`: polygons, or run lengths compressed or not."""
    masks = load_coco_api().masks
    if isinstance(segmentation, dict) and not isinstance(segmentation["counts"], list):
        return segmentation
    found = masks.frPyObjects(segmentation, height, width)
    return masks.merge(found) if isinstance(found, list) else found
