# SPDX-License-Identifier: Apache-2.0
"""Writes a split in COCO panoptic format: `images/SPLIT`, `panoptic_SPLIT` and, last of all, `panoptic_SPLIT.json`.

Legend: `H W` size of an image in pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from yoso_ros.data.samples import VOID_ID, rgb_from_ids
from yoso_ros.errors import InputError
from yoso_ros.files import write_file, write_json

if TYPE_CHECKING:
    from yoso_ros.label_sets import LabelSet


class CocoPanopticWriter:
    """Collects the images of a split; `finish` writes its JSON, without which there is no split.

    Args:
        root: pathlib.Path of the data set. split: its name.
        label_set: `LabelSet` of the categories.

    Raises:
        InputError: the split already exists.
    """

    def __init__(self, root: str | Path, split: str, label_set: LabelSet):
        self.root, self.split, self.label_set = Path(root), split, label_set
        self.path = self.root / f"panoptic_{split}.json"
        if self.path.exists():
            raise InputError(f"{self.path} already exists; choose another folder or split, or delete it first")
        self._images, self._annotations, self._names = [], [], set()

    def __len__(self) -> int:
        return len(self._images)

    def add(
        self,
        file_name: str,
        image: np.ndarray,
        png: bytes,
        size: tuple[int, int],
        segments: list[dict[str, Any]],
        more: Any = (),
    ) -> None:
        """Write an image and its labels.

        Args:
            file_name: of the image, with suffix; no two may have the same stem.
            image: bytes of the image file. png: bytes of `panoptic_png`.
            size: (H, W).
            segments: COCO `segments_info` list.
            more: dict for the image's entry.

        Raises:
            InputError: the name was used before.
        """
        stem = Path(file_name).stem
        if stem in self._names:
            raise InputError(f"two images are named {stem}; expected names that differ without their suffix")
        self._names.add(stem)
        write_file(self.root / "images" / self.split / file_name, image)
        write_file(self.root / f"panoptic_{self.split}" / f"{stem}.png", png)
        image_id, (height, width) = len(self._images) + 1, size
        entry = {"id": image_id, "file_name": file_name, "height": height, "width": width}
        self._images.append(entry | dict(more))
        self._annotations.append({"image_id": image_id, "file_name": f"{stem}.png", "segments_info": segments})

    def finish(self, info: dict[str, str]) -> None:
        """Write the JSON; `info` is a dict of plain values."""
        content = {"info": info, "images": self._images, "annotations": self._annotations}
        write_json(self.path, content | {"categories": self.label_set.coco_categories()})


def panoptic_png(ids: np.ndarray) -> bytes:
    """The PNG of segment ids, int (H, W) below 2**24, 0 = void: bytes."""
    return cv2.imencode(".png", rgb_from_ids(ids)[..., ::-1])[1].tobytes()


def measured_segments(ids: np.ndarray, segments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The `segments_info` of a map, each with area and box, without those that have no pixels.

    Args:
        ids: int (H, W), 0 = void.
        segments: list of dict with id, category_id and any other fields to keep; iscrowd defaults to 0.

    Returns:
        list of dict in the order of `segments`.
    """
    numbers, places, areas = np.unique(ids, return_inverse=True, return_counts=True)
    area_of = dict(zip(numbers.tolist(), areas.tolist(), strict=True))
    place_of = {number: place for place, number in enumerate(numbers.tolist())}
    places = places.reshape(ids.shape)
    measured = []
    for segment in segments:
        number = segment["id"]
        if number != VOID_ID and number in area_of:
            box = cv2.boundingRect((places == place_of[number]).view(np.uint8))
            measured.append({"iscrowd": 0} | segment | {"area": area_of[number], "bbox": list(box)})
    return measured
