# SPDX-License-Identifier: Apache-2.0
"""Cityscapes as downloaded: leftImg8bit images and gtFine, its panoptic files or segments built from instanceIds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from yoso_ros.data.coco_panoptic import CocoPanoptic
from yoso_ros.data.samples import VOID_ID, PanopticSample, find_reading_faults
from yoso_ros.errors import InputError
from yoso_ros.images.encoded import read_image
from yoso_ros.label_sets import load_label_set
from yoso_ros.reading import path_inside

if TYPE_CHECKING:
    from yoso_ros.label_sets import LabelSet

INSTANCES_PER_LABEL = 1000  # instanceIds are label * 1000 + instance for single things, and the plain label otherwise
MASK_SUFFIX, IMAGE_SUFFIX = "_gtFine_instanceIds.png", "_leftImg8bit.png"


def open_cityscapes(root: str | Path, split: str, label_set: LabelSet | None = None) -> Cityscapes | CityscapesPanoptic:
    """A split of Cityscapes: from its panoptic files if they exist, otherwise from instanceIds.

    Both give the same segments. The panoptic files are `gtFine/cityscapes_panoptic_SPLIT.json` and the folder of that
    name, as written by the official scripts with label ids.

    Args:
        root: folder with `leftImg8bit/SPLIT/CITY` and `gtFine`.
        split: "train", "val" or "test".
        label_set: LabelSet whose dataset ids are label ids; by default the 19 evaluated classes.

    Returns:
        `CityscapesPanoptic` or `Cityscapes`.

    Raises:
        InputError: there is no ground truth for the split below the root.
    """
    path = Path(root) / "gtFine" / f"cityscapes_panoptic_{split}.json"
    return CityscapesPanoptic(root, split, label_set) if path.is_file() else Cityscapes(root, split, label_set)


class CityscapesPanoptic(CocoPanoptic):
    """A split of Cityscapes in the COCO panoptic format of its official scripts; see `open_cityscapes`."""

    def __init__(self, root: str | Path, split: str, label_set: LabelSet | None = None):
        root = Path(root)
        annotations = root / "gtFine" / f"cityscapes_panoptic_{split}.json"
        super().__init__(annotations, root / "leftImg8bit" / split, label_set=label_set or load_label_set("cityscapes"))

    def _image_path(self, image):
        # The JSON's file names differ from those of leftImg8bit; the image id, CITY_SEQUENCE_FRAME, matches.
        name = f"{str(image['id']).split('_')[0]}/{image['id']}{IMAGE_SUFFIX}"
        return path_inside(self.images_folder, name, f"{self.annotations_json}: image {image['id']}")


class Cityscapes:
    """A split of Cityscapes from instanceIds; `len()` and `[i]`, which returns a `PanopticSample`.

    Segment ids are those of instanceIds and category ids are label ids, as in the official panoptic conversion. A
    thing without an instance number is a crowd; labels that the label set lacks (those not evaluated) are void.

    Args:
        root: folder with `leftImg8bit/SPLIT/CITY` and `gtFine/SPLIT/CITY`.
        split: "train", "val" or "test".
        label_set: LabelSet whose dataset ids are label ids; by default the 19 evaluated classes.

    Raises:
        InputError: there is no ground truth for the split below the root.
    """

    def __init__(self, root: str | Path, split: str, label_set: LabelSet | None = None):
        self.label_set = label_set or load_label_set("cityscapes")
        self.root, self.split = Path(root), split
        folder = self.root / "gtFine" / split
        self._masks = sorted(folder.glob(f"*/*{MASK_SUFFIX}"))
        if not self._masks:
            raise InputError(f"expected {folder}/CITY/*{MASK_SUFFIX}, found none")

    def __len__(self) -> int:
        return len(self._masks)

    def __getitem__(self, index: int) -> PanopticSample:
        """Read one sample.

        Raises:
            InputError: the message names the faulty file and the reason.
        """
        mask_path = self._masks[index]
        name = mask_path.name.removesuffix(MASK_SUFFIX)
        image_path = self.root / "leftImg8bit" / self.split / mask_path.parent.name / f"{name}{IMAGE_SUFFIX}"
        image, instances = read_image(image_path), read_image(mask_path, cv2.IMREAD_UNCHANGED)
        if instances.ndim != 2 or instances.dtype != np.uint16:
            raise InputError(f"{mask_path}: expected 16-bit grey, found {instances.dtype} of shape {instances.shape}")
        if instances.shape != image.shape[:2]:
            raise InputError(
                f"{mask_path}: expected the size of {image_path}, {image.shape[:2]}, found {instances.shape}"
            )
        ids = instances.astype(np.int32)
        segments = self._segments(ids)
        ids[~np.isin(ids, [s["id"] for s in segments])] = VOID_ID
        return PanopticSample(image, ids, segments, name, str(image_path))

    def find_faults(self, watch: Callable[..., Any] = iter) -> Iterator[str]:
        """See `find_reading_faults`."""
        return find_reading_faults(self, watch)

    def _segments(self, ids):
        segments = []
        for segment_id in np.unique(ids).tolist():
            single = segment_id >= INSTANCES_PER_LABEL
            label = segment_id // INSTANCES_PER_LABEL if single else segment_id
            class_id = self.label_set.contiguous_id.get(label)
            if class_id is None:
                continue
            mask = ids == segment_id
            segments.append(
                {
                    "id": segment_id,
                    "category_id": label,
                    "iscrowd": int(self.label_set.classes[class_id].is_thing and not single),
                    "area": int(mask.sum()),
                    "bbox": list(cv2.boundingRect(mask.view(np.uint8))),
                }
            )
        return segments
