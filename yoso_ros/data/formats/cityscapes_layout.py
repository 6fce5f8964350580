# SPDX-License-Identifier: Apache-2.0
"""The folders of Cityscapes: leftImg8bit and gtFine with labelIds, instanceIds, color; label_colors.txt for CVAT."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from yoso_ros.data.cityscapes import IMAGE_SUFFIX, INSTANCES_PER_LABEL, Cityscapes
from yoso_ros.data.formats.exchange import (
    LABEL_SET_FILE,
    ForeignImage,
    export_colors,
    image_bytes,
    known_label_set,
    label_set_for,
    write_label_set,
)
from yoso_ros.errors import InputError
from yoso_ros.files import write_file
from yoso_ros.label_sets import load_label_set
from yoso_ros.reading import read_text

if TYPE_CHECKING:
    from yoso_ros.data.formats.exchange import ExchangeOptions
    from yoso_ros.label_sets import LabelSet

SUMMARY = "Cityscapes: 16-bit instanceIds, labelIds and colours (CVAT's Cityscapes 1.0); crowds of stuff are lost"
CITY = "own"
TABLE = "label_colors.txt"
LARGEST_LABEL = 64  # label * 1000 + instance has to fit 16 bits


def export(
    dataset: Any, folder: str | Path, split: str, options: ExchangeOptions, watch: Callable[..., Any] = iter
) -> list[str]:
    """See `DataFormat`. Label ids are those of Cityscapes for its label set, else class numbers starting from 1."""
    label_set, lost = dataset.label_set, 0
    official = {c.name: c.dataset_id for c in load_label_set("cityscapes").classes}
    if all(official.get(c.name) == c.dataset_id for c in label_set.classes):
        label_of = {c.dataset_id: c.dataset_id for c in label_set.classes}
    else:
        label_of = {c.dataset_id: i + 1 for i, c in enumerate(label_set.classes)}
    if max(label_of.values()) > LARGEST_LABEL:
        raise InputError(f"16-bit instanceIds hold labels to {LARGEST_LABEL}, label set {label_set.name} has more")
    colors = np.zeros((256, 3), np.uint8)
    for c, color in zip(label_set.classes, export_colors(label_set), strict=True):
        colors[label_of[c.dataset_id]] = color
    for index in watch(range(len(dataset))):
        sample = dataset[index]
        name = Path(sample.file_name).stem.removesuffix("_leftImg8bit")
        instances = np.zeros(sample.ids.shape, np.uint16)
        counts = {}
        for segment in sample.segments:
            label = label_of[segment["category_id"]]
            is_thing = label_set.classes[label_set.contiguous_id[segment["category_id"]]].is_thing
            number = label
            if is_thing and not segment.get("iscrowd"):
                number = label * INSTANCES_PER_LABEL + counts.setdefault(label, 0)
                counts[label] += 1
            if (segment.get("iscrowd") and not is_thing) or counts.get(label, 0) > INSTANCES_PER_LABEL:
                lost += 1
                continue
            instances[sample.ids == segment["id"]] = number
        labels = np.where(instances >= INSTANCES_PER_LABEL, instances // INSTANCES_PER_LABEL, instances).astype(
            np.uint8
        )
        images = {"instanceIds": instances, "labelIds": labels, "color": colors[labels][..., ::-1]}
        write_file(folder / "leftImg8bit" / split / CITY / f"{name}{IMAGE_SUFFIX}", image_bytes(sample, (".png",))[1])
        for kind, pixels in images.items():
            path = folder / "gtFine" / split / CITY / f"{name}_gtFine_{kind}.png"
            write_file(path, cv2.imencode(".png", pixels)[1].tobytes())
    # Its readers number the labels by their lines, from 0.
    lines = ["0 0 0 background"] + [
        f"{' '.join(map(str, colors[label_of[c.dataset_id]]))} {c.name.replace(' ', '_')}" for c in label_set.classes
    ]
    if label_of != {c.dataset_id: c.dataset_id for c in label_set.classes} or len(lines) == max(label_of.values()) + 1:
        write_file(folder / TABLE, "\n".join(lines) + "\n")
    own = [dataclasses.replace(c, dataset_id=label_of[c.dataset_id]) for c in label_set.classes]
    write_label_set(dataclasses.replace(label_set, classes=tuple(own)), folder / LABEL_SET_FILE)
    return [f"{lost} crowds of stuff, or things past the 1000th of a class, are void"] if lost else []


def read(folder: str | Path, split: str, options: ExchangeOptions) -> tuple[LabelSet, Any]:
    """See `DataFormat`. Label ids come from the label set, otherwise label_colors.txt, otherwise Cityscapes."""
    label_set = known_label_set(folder, options)
    if label_set is None and (folder / TABLE).is_file():
        label_set = _label_set_of(folder / TABLE, folder, options)
    dataset = Cityscapes(folder, split, label_set)

    def samples():
        for index in range(len(dataset)):
            sample = dataset[index]
            yield ForeignImage(sample.file_name, sample.ids, sample.segments)

    return dataset.label_set, samples()


def _label_set_of(path, folder, options):
    names, colors = [], []
    for line in read_text(path).splitlines():
        words = line.split()
        if words and words[0][0] != "#":
            try:
                colors.append(tuple(int(word) for word in words[:3]))
                names.append(words[3])
            except (ValueError, IndexError) as error:
                raise InputError(f"{path}: expected lines of r g b name, found {line!r}") from error
    skip = 1 if names and names[0].lower() == "background" else 0
    numbers = list(range(skip, len(names)))
    return label_set_for(names[skip:], numbers, folder, options, path.name, colors[skip:])[0]
