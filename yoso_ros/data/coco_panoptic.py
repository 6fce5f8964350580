# SPDX-License-Identifier: Apache-2.0
"""COCO panoptic format: one JSON with segments, one RGB PNG of segment ids per image. Also the layout for own data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from yoso_ros.data.coco_json import field_fault, read_coco
from yoso_ros.data.samples import VOID_ID, PanopticSample, ids_from_rgb
from yoso_ros.errors import InputError, brief
from yoso_ros.images.encoded import read_image
from yoso_ros.label_sets import LabelClass, LabelSet
from yoso_ros.reading import path_inside

SEGMENT_KEYS = ("id", "category_id", "iscrowd", "area", "bbox")
ANNOTATION_KEYS = ("image_id", "file_name", "segments_info")
REQUIRED = {"images": ("id", "file_name"), "annotations": (), "categories": ("id", "name", "isthing")}


class CocoPanoptic:
    """A split in COCO panoptic format; `len()` and `[i]`, which returns a `PanopticSample`.

    Args:
        annotations_json: the panoptic JSON (images, annotations, categories).
        images_folder: folder of the image files.
        panoptic_folder: folder of the PNG files; by default the path of the JSON without `.json`.
        label_set: LabelSet whose dataset ids are the JSON's category ids; by default built from the JSON's categories.

    Raises:
        InputError: the JSON is missing or malformed, or one of its categories disagrees with the label set.
    """

    def __init__(
        self,
        annotations_json: str | Path,
        images_folder: str | Path,
        panoptic_folder: str | Path | None = None,
        label_set: LabelSet | None = None,
    ):
        self.annotations_json = Path(annotations_json)
        self.images_folder = Path(images_folder)
        self.panoptic_folder = Path(panoptic_folder or self.annotations_json.with_suffix(""))
        content = read_coco(self.annotations_json, "COCO panoptic", REQUIRED)
        self.label_set = label_set or _label_set_from_categories(content["categories"], self.annotations_json)
        self._check_categories(content["categories"])
        self._images = {image["id"]: image for image in content["images"]}
        self._annotations = content["annotations"]

    @classmethod
    def from_root(cls, root: str | Path, split: str, label_set: LabelSet | None = None) -> CocoPanoptic:
        """Find a split below the root folder of a data set.

        Layouts: `panoptic_SPLIT.json`, `panoptic_SPLIT/`, `images/SPLIT/` (your own data); or COCO as downloaded, with
        `annotations/panoptic_SPLIT.json`, `annotations/panoptic_SPLIT/` or `panoptic_SPLIT/`, and `SPLIT/`, where
        `val` also finds `val2017`.

        Raises:
            InputError: neither exists; the message lists the locations tried.
        """
        root = Path(root)
        tried = []
        for name in (split, f"{split}2017"):
            for json_path, images in (
                (root / f"panoptic_{name}.json", root / "images" / name),
                (root / "annotations" / f"panoptic_{name}.json", root / name),
            ):
                tried.append(json_path)
                if json_path.is_file():
                    png_folders = (json_path.with_suffix(""), root / f"panoptic_{name}")
                    return cls(json_path, images, next((p for p in png_folders if p.is_dir()), None), label_set)
        raise InputError(f"expected a COCO panoptic JSON at one of: {', '.join(map(str, tried))}; found none")

    def __len__(self) -> int:
        return len(self._annotations)

    def __getitem__(self, index: int) -> PanopticSample:
        """Read one sample.

        Raises:
            InputError: the message names the faulty file and the reason.
        """
        sample, faults = self._read(index)
        if faults:
            raise InputError(faults[0])
        return sample

    def segments_of(self, index: int) -> list[dict[str, Any]]:
        """The `segments_info` of an image, without reading any file."""
        return self._annotations[index].get("segments_info", [])

    def find_faults(self, watch: Callable[..., Any] = iter) -> Iterator[str]:
        """Read everything and yield each fault as one line with the file and the reason.

        In addition to what `[i]` raises, it reports segments without any pixel, wrong areas and images without an
        annotation.

        Args:
            watch: wraps the range of indices, for a progress bar.
        """
        annotated = set()
        for index in watch(range(len(self))):
            annotation = self._annotations[index]
            sample, faults = self._read(index)
            yield from faults
            if not field_fault(annotation, ("image_id",)):
                annotated.add(annotation["image_id"])
            if sample is not None:
                yield from self._area_faults(sample, self.panoptic_folder / annotation["file_name"])
        for image_id, image in self._images.items():
            if image_id not in annotated:
                yield f"{self.annotations_json}: image {image_id} ({image['file_name']}) has no annotation"

    def _read(self, index):
        """The sample, or None if there is none, and the faults, each as one line."""
        annotation = self._annotations[index]
        where = f"{self.annotations_json}: annotation {index}"
        if fault := field_fault(annotation, ANNOTATION_KEYS):
            return None, [f"{where} {fault}"]
        if annotation["image_id"] not in self._images:
            return None, [f"{where} is of image {brief(annotation['image_id'])}, which is not in the list of images"]
        faults, pictures = [], []
        image = self._images[annotation["image_id"]]
        paths = []
        for find in (
            lambda: self._image_path(image),
            lambda: path_inside(self.panoptic_folder, annotation["file_name"], where),
        ):
            try:
                paths.append(find())
                pictures.append(read_image(paths[-1]))
            except InputError as error:
                faults.append(str(error))
        segments = annotation["segments_info"]
        for segment in segments:
            if fault := field_fault(segment, SEGMENT_KEYS):
                faults.append(f"{where}, segment {brief(segment.get('id'))} {fault}")
        if faults:
            return None, faults
        (image_path, png_path), (image, rgb) = paths, pictures
        if image.shape != rgb.shape:
            return None, [f"{png_path}: expected the size of {image_path}, {_size(image)}, found {_size(rgb)}"]
        sample = PanopticSample(image, ids_from_rgb(rgb), segments, annotation["image_id"], str(image_path))
        return sample, list(self._segment_faults(sample, png_path))

    def _image_path(self, image):
        return path_inside(self.images_folder, image["file_name"], f"{self.annotations_json}: image {image['id']}")

    def _segment_faults(self, sample, png_path):
        named = [segment["id"] for segment in sample.segments]
        for segment_id in sorted({i for i in named if named.count(i) > 1}):
            yield f"{self.annotations_json}: segment {segment_id} of {png_path.name} is listed twice"
        for segment_id in sorted({int(i) for i in np.unique(sample.ids)} - {VOID_ID, *named}):
            yield f"{png_path}: segment {segment_id} is in the PNG and not in {self.annotations_json.name}"
        for segment in sample.segments:
            if segment["category_id"] not in self.label_set.contiguous_id:
                yield (
                    f"{self.annotations_json}: segment {segment['id']} of {png_path.name} has category "
                    f"{segment['category_id']}, which label set {self.label_set.name} lacks"
                )

    def _area_faults(self, sample, png_path):
        areas = dict(zip(*map(np.ndarray.tolist, np.unique(sample.ids, return_counts=True)), strict=True))
        for segment in sample.segments:
            found = areas.get(segment["id"], 0)
            if not found:
                yield f"{png_path}: segment {segment['id']} is in {self.annotations_json.name} and not in the PNG"
            elif found != segment["area"]:
                yield (
                    f"{self.annotations_json}: segment {segment['id']} of {png_path.name} has area {segment['area']}, "
                    f"the PNG has {found} pixels"
                )

    def _check_categories(self, categories):
        for category in categories:
            class_id = self.label_set.contiguous_id.get(category["id"])
            if class_id is None:
                continue  # only an error if a segment uses it
            known = self.label_set.classes[class_id]
            if (known.name, known.is_thing) != (category["name"].strip(), bool(category["isthing"])):
                raise InputError(
                    f"{self.annotations_json}: category {category['id']} is {category['name']!r} "
                    f"({'thing' if category['isthing'] else 'stuff'}), but {known.name!r} "
                    f"({'thing' if known.is_thing else 'stuff'}) in label set {self.label_set.name}"
                )


def _label_set_from_categories(categories, path):
    classes = tuple(
        LabelClass(
            name=c["name"].strip(),  # ADE20K's list has "window "
            is_thing=bool(c["isthing"]),
            dataset_id=c["id"],
            color=tuple(c.get("color", (128, 128, 128))),
        )
        for c in categories
    )
    return LabelSet(name=path.stem, source=str(path), classes=classes)


def _size(array):
    return f"{array.shape[1]}x{array.shape[0]}"
