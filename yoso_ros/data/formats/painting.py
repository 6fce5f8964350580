# SPDX-License-Identifier: Apache-2.0
"""Painting of possibly overlapping annotations into one map in a given order; stuff of one class becomes one segment.

Legend: `H W` size of the image in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from yoso_ros.data.samples import VOID_ID

# What is painted first is below. Each value is a sort key of (position in the file, `Annotation`).
ORDERS = {
    "small-on-top": lambda place, a: (a.is_thing + (a.is_thing and not a.is_crowd), -int(a.mask.sum()), place),
    "last-on-top": lambda place, a: place,
    "first-on-top": lambda place, a: -place,
}
ORDER_HELP = {
    "small-on-top": "stuff below crowds below things, and of these the smaller on top",
    "last-on-top": "as in the file, the later on top",
    "first-on-top": "as in the file, the earlier on top",
}


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotation: bool (H, W) `mask`, category id of the label set, and its kind."""

    mask: np.ndarray
    category_id: int
    is_thing: bool
    is_crowd: bool = False


def paint(shape: tuple[int, int], annotations: list[Annotation], order: str) -> tuple[np.ndarray, list[dict[str, int]]]:
    """Paint annotations into one map.

    Args:
        shape: (H, W). annotations: list of `Annotation`. order: name in `ORDERS`.

    Returns:
        (int32 (H, W) segment ids from 1, list of dict with id, category_id, iscrowd, including covered ones).
    """
    ids, segments, stuff = np.full(shape, VOID_ID, np.int32), [], {}
    for _, annotation in sorted(enumerate(annotations), key=lambda pair: ORDERS[order](*pair)):
        number = None if annotation.is_thing else stuff.get((annotation.category_id, annotation.is_crowd))
        if number is None:
            number = len(segments) + 1
            crowd = int(annotation.is_crowd)
            segments.append({"id": number, "category_id": annotation.category_id, "iscrowd": crowd})
            if not annotation.is_thing:
                stuff[annotation.category_id, annotation.is_crowd] = number
        ids[annotation.mask] = number
    return ids, segments


def segments_from_maps(
    classes: np.ndarray,
    instances: np.ndarray | None,
    category_of: dict[int, int],
    is_thing: set[int],
    components: bool = False,
) -> tuple[np.ndarray, list[dict[str, int]]]:
    """Segments from a class map and an instance map, which cannot overlap.

    Args:
        classes: int (H, W), class values. instances: int (H, W), 0 = no instance, or None if there are none at all.
        category_of: class value to category id; other values are void. is_thing: set of the values of things.
        components: whether connected components of a thing class without instances are single things, else a crowd.

    Returns:
        as `paint`.
    """
    ids, segments = np.full(classes.shape, VOID_ID, np.int32), []
    if instances is None:
        instances = np.zeros_like(classes)

    def add(mask, value, crowd):
        segments.append({"id": len(segments) + 1, "category_id": category_of[value], "iscrowd": int(crowd)})
        ids[mask] = len(segments)

    for value in np.unique(classes).tolist():
        if value not in category_of:
            continue
        mask = classes == value
        if value not in is_thing:
            add(mask, value, False)
            continue
        for instance in np.unique(instances[mask]).tolist():
            part = mask & (instances == instance)
            if instance:
                add(part, value, False)
            elif components:
                count, parts = cv2.connectedComponents(part.view(np.uint8))
                for number in range(1, count):
                    add(parts == number, value, False)
            else:
                add(part, value, True)
    return ids, segments
