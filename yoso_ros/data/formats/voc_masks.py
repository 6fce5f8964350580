# SPDX-License-Identifier: Apache-2.0
"""Colour masks as in Pascal VOC and CVAT's "Segmentation mask 1.1", with labelmap.txt as the class table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from yoso_ros.data.formats.exchange import (
    LABEL_SET_FILE,
    ForeignImage,
    export_colors,
    find_image,
    image_bytes,
    label_set_for,
    read_mask,
    write_label_set,
)
from yoso_ros.data.formats.painting import segments_from_maps
from yoso_ros.errors import InputError
from yoso_ros.files import write_file
from yoso_ros.images.encoded import read_image
from yoso_ros.reading import path_inside, read_text

if TYPE_CHECKING:
    from yoso_ros.data.formats.exchange import ExchangeOptions
    from yoso_ros.label_sets import LabelSet

SUMMARY = "colour masks with labelmap.txt: VOC folders, CVAT's Segmentation mask 1.1; crowds are lost"
BACKGROUND = "background"  # black: no class
MAX_OBJECTS = 255  # per image: the colours that readers recognise


def export(
    dataset: Any, folder: str | Path, split: str, options: ExchangeOptions, watch: Callable[..., Any] = iter
) -> list[str]:
    """See `DataFormat`: JPEGImages, SegmentationClass, SegmentationObject, ImageSets/Segmentation/SPLIT.txt."""
    label_set, names, crowds, unnamed = dataset.label_set, [], 0, 0
    if bad := [c.name for c in label_set.classes if ":" in c.name or c.name == BACKGROUND]:
        raise InputError(f"labelmap.txt cannot hold a class of the name {bad[0]!r}")
    colors = dict(zip((c.dataset_id for c in label_set.classes), export_colors(label_set), strict=True))
    for index in watch(range(len(dataset))):
        sample = dataset[index]
        suffix, data = image_bytes(sample, (".jpg", ".jpeg", ".png"))
        name = Path(sample.file_name).stem
        names.append(name)
        write_file(folder / "JPEGImages" / f"{name}{suffix}", data)
        classes, objects = (np.zeros((*sample.ids.shape, 3), np.uint8) for _ in range(2))
        # A separate colour for each, including stuff, as the tools write them.
        singles = [s for s in sample.segments if not s.get("iscrowd")]
        crowds, unnamed = crowds + len(sample.segments) - len(singles), unnamed + len(singles[MAX_OBJECTS:])
        for number, segment in enumerate(singles[:MAX_OBJECTS], start=1):
            color = voc_color(number)
            mask = sample.ids == segment["id"]
            classes[mask], objects[mask] = colors[segment["category_id"]], color
        for place, mask in (("SegmentationClass", classes), ("SegmentationObject", objects)):
            write_file(folder / place / f"{name}.png", cv2.imencode(".png", mask[..., ::-1])[1].tobytes())
    lines = ["# label:color_rgb:parts:actions", f"{BACKGROUND}:0,0,0::"]
    lines += [f"{c.name}:{','.join(map(str, colors[c.dataset_id]))}::" for c in label_set.classes]
    write_file(folder / "labelmap.txt", "\n".join(lines) + "\n")
    write_label_set(label_set, folder / LABEL_SET_FILE)
    write_file(folder / "ImageSets/Segmentation" / f"{split}.txt", "\n".join(names) + "\n")
    lines = [f"{crowds} crowds are void"] if crowds else []
    return lines + ([f"{unnamed} segments past the {MAX_OBJECTS}th of an image are void"] if unnamed else [])


def voc_color(number: int) -> tuple[int, ...]:
    """The RGB of the n-th object in Pascal VOC: its bits distributed over the channels in turn, highest bits first."""
    channels = [0, 0, 0]
    for place in range(8):
        for channel in range(3):
            channels[channel] |= (number >> channel & 1) << (7 - place)
        number >>= 3
    return tuple(channels)


def read(folder: str | Path, split: str, options: ExchangeOptions) -> tuple[LabelSet, Any]:
    """See `DataFormat`; without ImageSets all masks are read."""
    table = _read_labelmap(folder / "labelmap.txt")
    names = [name for name in table if name != BACKGROUND]
    label_set, category_of = label_set_for(
        names, list(range(1, len(names) + 1)), folder, options, "labelmap.txt", [table[n] for n in names]
    )
    things = {c.dataset_id for c in label_set.classes if c.is_thing}
    value_of = {_number(np.array(table[n])): category_of[n] for n in names}
    value_of.pop(0, None)
    thing_values = {value for value, category in value_of.items() if category in things}
    known = {*value_of, _number(np.array(table.get(BACKGROUND, (0, 0, 0)))), 0}
    folders = (
        [options.images]
        if options.images
        else [folder / "JPEGImages", folder / "images" / split, folder / "images", folder]
    )

    def samples():
        for stem in _names(folder, split):
            mask_path = path_inside(folder / "SegmentationClass", f"{stem}.png", folder)
            path = _image_of(stem, folders)
            shape = read_image(path).shape[:2]
            classes = _color_numbers(mask_path, shape)
            if strangers := set(np.unique(classes).tolist()) - known:
                color = tuple((min(strangers) >> shift) & 255 for shift in (0, 8, 16))
                raise InputError(f"{mask_path}: has colour {color}, which labelmap.txt lacks")
            object_path = folder / "SegmentationObject" / f"{stem}.png"
            objects = _color_numbers(object_path, shape) if object_path.is_file() else None
            yield ForeignImage(path, *segments_from_maps(classes, objects, value_of, thing_values, options.components))

    return label_set, samples()


def _color_numbers(path, shape):
    mask = read_mask(path, shape)
    if mask.ndim != 3:
        raise InputError(f"{path}: expected a mask of colours, found one of grey values; see --format index-masks")
    return _number(mask)


def _number(color):
    """One number for a colour, int32: R + 256 G + 65536 B."""
    color = color.astype(np.int32)
    number = color[..., 0] + (color[..., 1] << 8) + (color[..., 2] << 16)
    return number if number.ndim else int(number)


def _names(folder, split):
    for name in (split, "default"):
        path = folder / "ImageSets/Segmentation" / f"{name}.txt"
        if path.is_file():
            return [line.strip() for line in read_text(path).splitlines() if line.strip()]
    masks = folder / "SegmentationClass"
    found = sorted(str(p.relative_to(masks).with_suffix("")) for p in masks.rglob("*.png"))
    if not found:
        raise InputError(f"expected {folder}/ImageSets/Segmentation/{split}.txt or SegmentationClass/*.png, found none")
    return found


def _image_of(stem, folders):
    for suffix in (".jpg", ".jpeg", ".png", ".JPG"):
        try:
            return find_image(f"{stem}{suffix}", folders)
        except InputError:
            continue
    return find_image(f"{stem}.jpg", folders)


def _read_labelmap(path):
    """Name to RGB; lines `name:r,g,b:parts:actions`."""
    if not path.is_file():
        raise InputError(f"expected the class table {path}, found none")
    table = {}
    for line in read_text(path).splitlines():
        if line.strip() and not line.startswith("#"):
            try:
                name, color = line.split(":")[:2]
                table[name.strip()] = tuple(int(part) for part in color.split(","))
                if len(table[name.strip()]) != 3:
                    raise ValueError("expected three numbers for a colour")
            except ValueError as error:
                raise InputError(f"{path}: expected lines of name:r,g,b::, found {line!r} ({error})") from error
    return table
