# SPDX-License-Identifier: Apache-2.0
"""Masks whose grey value is the class, with a class table, as in Roboflow; instances in separate masks."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from yoso_ros.bags.pictures import IMAGE_SUFFIXES
from yoso_ros.data.formats.exchange import (
    LABEL_SET_FILE,
    ForeignImage,
    image_bytes,
    label_set_for,
    read_mask,
    write_label_set,
)
from yoso_ros.data.formats.painting import segments_from_maps
from yoso_ros.errors import InputError
from yoso_ros.files import write_file
from yoso_ros.images.encoded import read_image
from yoso_ros.reading import read_text
from yoso_ros.tables import csv_text, text_of_csv

if TYPE_CHECKING:
    from yoso_ros.data.formats.exchange import ExchangeOptions
    from yoso_ros.label_sets import LabelSet

SUMMARY = "masks of class numbers with _classes.csv: Roboflow's layout, instances in masks of their own; crowds merge"
MASK, INSTANCES, TABLE = "_mask.png", "_instances.png", "_classes.csv"
VOID_VALUES = {0, 255}
VOID_NAMES = {"unlabeled", "background", "void", "ignore"}


def export(
    dataset: Any, folder: str | Path, split: str, options: ExchangeOptions, watch: Callable[..., Any] = iter
) -> list[str]:
    """See `DataFormat`: in SPLIT the images, NAME_mask.png, NAME_instances.png (16 bit) and _classes.csv."""
    label_set, lost = dataset.label_set, 0
    if len(label_set) > 254:
        raise InputError(f"masks of 8 bits hold 254 classes, label set {label_set.name} has {len(label_set)}")
    value_of = {c.dataset_id: i + 1 for i, c in enumerate(label_set.classes)}
    for index in watch(range(len(dataset))):
        sample = dataset[index]
        suffix, data = image_bytes(sample, (".jpg", ".jpeg", ".png"))
        name = Path(sample.file_name).stem
        classes, instances = np.zeros(sample.ids.shape, np.uint8), np.zeros(sample.ids.shape, np.uint16)
        for number, segment in enumerate(sample.segments, start=1):
            mask, class_id = sample.ids == segment["id"], label_set.contiguous_id[segment["category_id"]]
            if segment.get("iscrowd") and not label_set.classes[class_id].is_thing:
                lost += 1
                continue
            classes[mask] = value_of[segment["category_id"]]
            instances[mask] = number if label_set.classes[class_id].is_thing and not segment.get("iscrowd") else 0
        write_file(folder / split / f"{name}{suffix}", data)
        for ending, mask in ((MASK, classes), (INSTANCES, instances)):
            write_file(folder / split / f"{name}{ending}", cv2.imencode(".png", mask)[1].tobytes())
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerows([("Pixel Value", "Class"), (0, "unlabeled")])
    rows.writerows((value_of[c.dataset_id], csv_text(c.name)) for c in label_set.classes)
    write_file(folder / split / TABLE, text.getvalue())
    write_label_set(label_set, folder / LABEL_SET_FILE)
    return [f"{lost} crowds of stuff are void"] if lost else []


def read(folder: str | Path, split: str, options: ExchangeOptions) -> tuple[LabelSet, Any]:
    """See `DataFormat`: SPLIT (or valid) or the folder itself has masks, table and, without --images, images."""
    names = (split, {"val": "valid"}.get(split, split), ".")
    place = next((folder / n for n in names if (folder / n / TABLE).is_file()), None)
    if place is None:
        raise InputError(f"expected {TABLE} in one of: {', '.join(str(folder / n) for n in names)}; found none")
    table = _read_table(place / TABLE)
    void = VOID_VALUES | {value for value, name in table.items() if name.lower() in VOID_NAMES}
    named = {value: name for value, name in table.items() if value not in void}
    values = list(named)
    label_set, category_of = label_set_for(list(named.values()), values, folder, options, TABLE)
    categories = {value: category_of[name] for value, name in named.items()}
    things = {c.dataset_id for c in label_set.classes if c.is_thing}
    thing_values = {value for value, category in categories.items() if category in things}
    masks = sorted(place.glob(f"*{MASK}"))
    if not masks:
        raise InputError(f"expected {place}/*{MASK}, found none")

    def samples():
        for mask_path in masks:
            stem = mask_path.name.removesuffix(MASK)
            path = _image_of(stem, options.images or place)
            shape = read_image(path).shape[:2]
            classes = read_mask(mask_path, shape)
            classes = classes if classes.ndim == 2 else classes[..., 0]
            if strangers := sorted(set(np.unique(classes).tolist()) - void - set(categories)):
                raise InputError(f"{mask_path}: has value {strangers[0]}, which {TABLE} lacks")
            instance_path = mask_path.with_name(f"{stem}{INSTANCES}")
            instances = read_mask(instance_path, shape) if instance_path.is_file() else None
            yield ForeignImage(
                path, *segments_from_maps(classes, instances, categories, thing_values, options.components)
            )

    return label_set, samples()


def _image_of(stem, folder):
    for path in sorted(folder.glob(f"{stem}.*")):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return path
    raise InputError(f"expected an image {stem} in {folder}, found none; give the folder with --images")


def _read_table(path):
    """Value to name; lines `value,name` after a heading."""
    rows = [row for row in csv.reader(read_text(path).splitlines()) if row]
    try:
        return {int(row[0]): text_of_csv(row[1].strip()) for row in rows[1:]}
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: expected a heading and lines of value,class: {error}") from error
