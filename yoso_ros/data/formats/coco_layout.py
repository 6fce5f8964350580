# SPDX-License-Identifier: Apache-2.0
"""COCO panoptic in the folders used by Datumaro (and so CVAT): annotations/panoptic_SPLIT.json, images/SPLIT."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yoso_ros.data.coco_panoptic import CocoPanoptic
from yoso_ros.data.coco_panoptic_writer import measured_segments, panoptic_png
from yoso_ros.data.formats.exchange import LABEL_SET_FILE, ForeignImage, image_bytes, known_label_set, write_label_set
from yoso_ros.errors import InputError
from yoso_ros.files import write_file, write_json

if TYPE_CHECKING:
    from yoso_ros.data.formats.exchange import ExchangeOptions
    from yoso_ros.label_sets import LabelSet

SUMMARY = "COCO panoptic: JSON and PNG of segment ids; holds everything (Datumaro, FiftyOne by a plug-in)"


def export(
    dataset: Any, folder: str | Path, split: str, options: ExchangeOptions, watch: Callable[..., Any] = iter
) -> list[str]:
    """See `DataFormat`."""
    images, annotations = [], []
    label_set = dataset.label_set
    for index in watch(range(len(dataset))):
        sample = dataset[index]
        suffix, data = image_bytes(sample, (".jpg", ".jpeg", ".png"))
        name = Path(sample.file_name).stem
        write_file(folder / "images" / split / f"{name}{suffix}", data)
        write_file(folder / "annotations" / f"panoptic_{split}" / f"{name}.png", panoptic_png(sample.ids))
        height, width = sample.ids.shape
        images.append({"id": index + 1, "file_name": f"{name}{suffix}", "height": height, "width": width})
        segments = measured_segments(sample.ids, sample.segments)
        annotations.append({"image_id": index + 1, "file_name": f"{name}.png", "segments_info": segments})
    content = {"info": {}, "licenses": [], "images": images, "annotations": annotations}
    write_label_set(label_set, folder / LABEL_SET_FILE)
    write_json(folder / f"annotations/panoptic_{split}.json", content | {"categories": label_set.coco_categories()})
    return []


def read(folder: str | Path, split: str, options: ExchangeOptions) -> tuple[LabelSet, Any]:
    """See `DataFormat`; every layout of `CocoPanoptic.from_root` and the one of `export` are found."""
    dataset = _open(folder, split, options)

    def images():
        for index in range(len(dataset)):
            sample = dataset[index]
            yield ForeignImage(sample.file_name, sample.ids, sample.segments)

    return dataset.label_set, images()


def _open(folder, split, options):
    path, label_set = folder / f"annotations/panoptic_{split}.json", known_label_set(folder, options)
    images = options.images or folder / "images" / split
    if path.is_file() and images.is_dir():
        pngs = next((p for p in (path.with_suffix(""), folder / f"panoptic_{split}") if p.is_dir()), None)
        return CocoPanoptic(path, images, pngs, label_set)
    if options.images:
        raise InputError(f"expected {path} and the folder {images}, did not find both")
    return CocoPanoptic.from_root(folder, split, label_set)
