# SPDX-License-Identifier: Apache-2.0
"""ADE20K (SceneParsing 150): as converted to COCO panoptic, or as downloaded, with segments built on the fly."""

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
from yoso_ros.reading import read_text

if TYPE_CHECKING:
    from yoso_ros.label_sets import LabelSet

FOLDERS = {"train": "training", "val": "validation"}
FIRST_INSTANCE = 1000  # segment ids of this package: class + 1 for stuff, 1000 + number of the instance for things


def open_ade20k(root: str | Path, split: str, label_set: LabelSet | None = None) -> Ade20k | CocoPanoptic:
    """ADE20K below a root folder (ADEChallengeData2016).

    Reads `ade20k_panoptic_SPLIT.json` and `ade20k_panoptic_SPLIT/` if the usual conversion has created them, else the
    download itself; images are in `images/training` and `images/validation`.

    Args:
        root: folder of the data set.
        split: "train" or "val", or the name of the image folder.
        label_set: LabelSet whose dataset ids are the semantic labels from 0; by default the 150 classes.

    Raises:
        InputError: there is no such split.
    """
    root = Path(root)
    names = {folder: name for name, folder in FOLDERS.items()}
    split = names.get(split, split)
    label_set = label_set or load_label_set("ade20k_panoptic")
    panoptic_json = root / f"ade20k_panoptic_{split}.json"
    if panoptic_json.is_file():
        return CocoPanoptic(panoptic_json, root / "images" / FOLDERS.get(split, split), label_set=label_set)
    return Ade20k(root, split, label_set)


class Ade20k:
    """A split of ADE20K as downloaded; `len()` and `[i]`, which returns a `PanopticSample`.

    Stuff comes from the semantic maps (`annotations`: 0 = void, else label + 1) and things from the instance maps
    (`annotations_instance`: red is the instance category, green the number of the instance in the image), with
    categories from `categoryMapping.txt`; instances cover stuff. Thing pixels without an instance are void.

    Args:
        root: folder with images, annotations, annotations_instance and categoryMapping.txt.
        split: "train" or "val".
        label_set: see `open_ade20k`.

    Raises:
        InputError: a folder or the mapping is missing or malformed.
    """

    def __init__(self, root: str | Path, split: str, label_set: LabelSet):
        self.label_set, self.root = label_set, Path(root)
        self._folder = FOLDERS.get(split, split)
        self._images = sorted((self.root / "images" / self._folder).glob("*.jpg"))
        if not self._images:
            raise InputError(f"expected {self.root}/images/{self._folder}/*.jpg, found none")
        self._label_of = _read_mapping(self.root / "categoryMapping.txt")

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> PanopticSample:
        """Read one sample.

        Raises:
            InputError: the message names the faulty file and the reason.
        """
        path = self._images[index]
        semantic_path, instance_path = (
            self.root / name / self._folder / f"{path.stem}.png" for name in ("annotations", "annotations_instance")
        )
        image = read_image(path)
        semantic, instances = read_image(semantic_path, cv2.IMREAD_UNCHANGED), read_image(instance_path)
        if semantic.ndim != 2 or semantic.dtype != np.uint8:
            raise InputError(f"{semantic_path}: expected 8-bit grey, found {semantic.dtype} of shape {semantic.shape}")
        for other_path, other in ((semantic_path, semantic), (instance_path, instances)):
            if other.shape[:2] != image.shape[:2]:
                raise InputError(
                    f"{other_path}: expected the size of {path}, {image.shape[:2]}, found {other.shape[:2]}"
                )
        ids = np.full(semantic.shape, VOID_ID, np.int32)
        labels = {}
        for value in np.unique(semantic).tolist():
            class_id = self.label_set.contiguous_id.get(value - 1)
            if value and class_id is None:
                raise InputError(f"{semantic_path}: has label {value}, which label set {self.label_set.name} lacks")
            if value and not self.label_set.classes[class_id].is_thing:
                ids[semantic == value] = value
                labels[value] = value - 1
        labels.update(self._paint_instances(ids, instances, instance_path))
        return PanopticSample(image, ids, _segments(ids, labels), path.stem, str(path))

    def find_faults(self, watch: Callable[..., Any] = iter) -> Iterator[str]:
        """See `find_reading_faults`."""
        return find_reading_faults(self, watch)

    def _paint_instances(self, ids, instances, path):
        """Paint the instances into `ids`; returns the label of each new segment id."""
        labels = {}
        for number in np.unique(instances[..., 1]).tolist():
            if not number:
                continue
            mask = instances[..., 1] == number
            categories = np.unique(instances[..., 0][mask]).tolist()
            if len(categories) > 1 or categories[0] not in self._label_of:
                raise InputError(
                    f"{path}: expected instance {number} to have one category of categoryMapping.txt, "
                    f"found {categories}"
                )
            label = self._label_of[categories[0]]
            if label not in self.label_set.contiguous_id:
                raise InputError(f"{path}: has label {label}, which label set {self.label_set.name} lacks")
            ids[mask] = FIRST_INSTANCE + number
            labels[FIRST_INSTANCE + number] = label
        return labels


def _segments(ids, labels):
    segments = []
    for segment_id in np.unique(ids).tolist():
        if segment_id != VOID_ID:
            mask = ids == segment_id
            segments.append(
                {
                    "id": segment_id,
                    "category_id": labels[segment_id],
                    "iscrowd": 0,
                    "area": int(mask.sum()),
                    "bbox": list(cv2.boundingRect(mask.view(np.uint8))),
                }
            )
    return segments


def _read_mapping(path):
    """Instance category to semantic label from 0; lines `instance semantic name`, numbered from 1, after a heading."""
    if not path.is_file():
        raise InputError(
            f"expected {path} of the instance annotations (or the converted ade20k_panoptic JSON), found none"
        )
    try:
        rows = [line.split() for line in read_text(path).splitlines()[1:] if line.strip()]
        return {int(row[0]): int(row[1]) - 1 for row in rows}
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: expected lines of instance label, semantic label and name: {error}") from error
