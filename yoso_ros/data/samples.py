# SPDX-License-Identifier: Apache-2.0
"""The panoptic sample that every reader returns, and the training targets derived from it.

Legend: `H W` size of the image in pixels, `n` targets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from yoso_ros.errors import InputError

if TYPE_CHECKING:
    from yoso_ros.label_sets import LabelSet

VOID_ID = 0  # COCO panoptic format: black pixels belong to no segment


@dataclass(frozen=True, slots=True)
class PanopticSample:
    """One image with its panoptic ground truth.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        ids: int32 (H, W), segment id of each pixel, 0 = void.
        segments: list of dict in the form of COCO's `segments_info`: id, category_id (the data set's own category id),
            iscrowd, area (pixels), bbox (x, y, width, height). Transforms change the pixels but not this list.
        image_id: the data set's id of the image, int or str.
        file_name: path of the image file.
    """

    image: np.ndarray
    ids: np.ndarray
    segments: list[dict]
    image_id: int | str
    file_name: str


def ids_from_rgb(rgb: np.ndarray) -> np.ndarray:
    """Segment ids of a COCO panoptic PNG: uint8 (H, W, 3) RGB to int32 (H, W), R + 256 G + 65536 B."""
    channels = rgb.astype(np.int32)
    return channels[..., 0] + (channels[..., 1] << 8) + (channels[..., 2] << 16)


def rgb_from_ids(ids: np.ndarray) -> np.ndarray:
    """Inverse of `ids_from_rgb`: int (H, W) below 2**24 to uint8 (H, W, 3) RGB."""
    return np.stack([ids & 255, (ids >> 8) & 255, (ids >> 16) & 255], axis=-1).astype(np.uint8)


def find_reading_faults(dataset: Any, watch: Callable[..., Any] = iter) -> Iterator[str]:
    """Read every sample of a data set and yield each fault as one line with the file and the reason.

    Args:
        dataset: has `len()` and `[i]`, which raises `InputError` for a faulty sample.
        watch: wraps the range of indices, for a progress bar.
    """
    for index in watch(range(len(dataset))):
        try:
            dataset[index]
        except InputError as error:
            yield str(error)


def training_targets(
    ids: np.ndarray, segments: list[dict[str, Any]], label_set: LabelSet
) -> tuple[np.ndarray, np.ndarray]:
    """The targets of one image for the criterion: one mask per thing instance and one per stuff class.

    Crowd segments, void and segments without any pixel (cropped away) are ignored; stuff segments of one class become
    one target.

    Args:
        ids: int (H, W), segment id of each pixel.
        segments: COCO `segments_info` list with the data set's own category ids.
        label_set: LabelSet that maps those to contiguous class ids.

    Returns:
        (labels int64 (n,) contiguous class ids, masks bool (n, H, W)), in the order of `segments`.

    Raises:
        InputError: a segment has a category that is not in the label set.
    """
    present = {int(i) for i in np.unique(ids)}
    groups = {}
    for segment in segments:
        if segment["iscrowd"] or segment["id"] not in present:
            continue
        class_id = label_set.contiguous_id.get(segment["category_id"])
        if class_id is None:
            raise InputError(
                f"segment {segment['id']} has category {segment['category_id']}, which label set {label_set.name} lacks"
            )
        key = segment["id"] if label_set.classes[class_id].is_thing else ("stuff", class_id)
        groups.setdefault(key, (class_id, []))[1].append(segment["id"])
    labels = np.array([class_id for class_id, _ in groups.values()], dtype=np.int64)
    masks = np.zeros((len(groups), *ids.shape), dtype=bool)
    for mask, (_, members) in zip(masks, groups.values(), strict=True):
        for member in members:
            mask |= ids == member
    return labels, masks
