# SPDX-License-Identifier: Apache-2.0
"""COCO instances: JSON with polygons or run lengths, things and stuff in separate files or in one.

Legend: `H W` size of an image in pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from yoso_ros.data.coco_json import read_coco
from yoso_ros.data.coco_panoptic_writer import measured_segments
from yoso_ros.data.formats.exchange import (
    LABEL_SET_FILE,
    ForeignImage,
    find_image,
    image_bytes,
    image_size,
    label_set_for,
    write_label_set,
)
from yoso_ros.data.formats.painting import Annotation, paint
from yoso_ros.errors import InputError, brief
from yoso_ros.files import write_file, write_json

if TYPE_CHECKING:
    from yoso_ros.data.formats.exchange import ExchangeOptions
    from yoso_ros.label_sets import LabelSet

REQUIRED = {"images": ("id", "file_name"), "annotations": ("image_id", "category_id"), "categories": ("id", "name")}
SUMMARY = "COCO instances: run lengths (exact) or polygons, stuff beside (CVAT, Label Studio, Roboflow, FiftyOne)"


def export(
    dataset: Any, folder: str | Path, split: str, options: ExchangeOptions, watch: Callable[..., Any] = iter
) -> list[str]:
    """See `DataFormat`: images/SPLIT, annotations/instances_SPLIT.json and, unless in one file, stuff_SPLIT.json."""
    from pycocotools import mask as coco_mask

    label_set, images, annotations, changed, pixels = dataset.label_set, [], [], 0, 0
    for index in watch(range(len(dataset))):
        sample = dataset[index]
        suffix, data = image_bytes(sample, (".jpg", ".jpeg", ".png"))
        name = f"{Path(sample.file_name).stem}{suffix}"
        write_file(folder / "images" / split / name, data)
        height, width = sample.ids.shape
        images.append({"id": index + 1, "file_name": name, "height": height, "width": width})
        for segment in measured_segments(sample.ids, sample.segments):
            mask = sample.ids == segment["id"]
            entry = {"id": len(annotations) + 1, "image_id": index + 1, "category_id": segment["category_id"]}
            entry |= {key: segment[key] for key in ("iscrowd", "area", "bbox")}
            polygons = _polygons(mask) if options.polygons and not segment["iscrowd"] else None
            if polygons:
                back = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width)))
                changed += int(np.count_nonzero(back.astype(bool) != mask))
                annotations.append(entry | {"segmentation": polygons})
            elif options.polygons and not segment["iscrowd"]:
                changed += segment["area"]  # too thin for a polygon
            else:
                annotations.append(entry | {"segmentation": _run_lengths(mask)})
            pixels += segment["area"]
    things = {c.dataset_id for c in label_set.classes if c.is_thing}
    parts = {"instances": things, "stuff": {c.dataset_id for c in label_set.classes} - things}
    if options.one_file:
        parts = {"instances": {c.dataset_id for c in label_set.classes}}
    write_label_set(label_set, folder / LABEL_SET_FILE)
    for name, members in parts.items():
        content = {"info": {}, "licenses": [], "images": images}
        content["annotations"] = [a for a in annotations if a["category_id"] in members]
        categories = [{**c, "supercategory": ""} for c in label_set.coco_categories() if c["id"] in members]
        if members:
            write_json(folder / f"annotations/{name}_{split}.json", content | {"categories": categories})
    if not options.polygons:
        return []
    return [f"polygons have no holes and no single pixels: {100 * changed / max(pixels, 1):.2f} % of the pixels differ"]


def read(folder: str | Path, split: str, options: ExchangeOptions) -> tuple[LabelSet, Any]:
    """See `DataFormat`. `folder` may be the JSON itself."""
    paths = _json_files(folder, split)
    root = folder.parent if folder.is_file() else folder
    contents = [read_coco(path, "COCO instances", REQUIRED) for path in paths]
    stuff_names = {
        c["name"] for p, content in zip(paths, contents, strict=True) if _is_stuff(p) for c in content["categories"]
    }
    categories = {}
    for path, content in zip(paths, contents, strict=True):
        used = {a.get("category_id") for a in content["annotations"]}
        # Roboflow lists the name of the project first, as a class that nothing has.
        kept = [c for c in content["categories"] if c["id"] in used or c.get("supercategory") != "none"]
        for category in kept or content["categories"]:
            if categories.setdefault(category["name"], category["id"]) != category["id"]:
                raise InputError(f"{path}: category {category['name']!r} has another id than in {paths[0].name}")
    if stuff_names:
        options = _with_stuff(options, stuff_names)
    label_set, category_of = label_set_for(list(categories), list(categories.values()), root, options, paths[0].name)
    names = {number: name for name, number in categories.items()}
    things = {c.dataset_id for c in label_set.classes if c.is_thing}
    images, grouped = {}, {}
    for path, content in zip(paths, contents, strict=True):
        for image in content["images"]:
            images.setdefault(image["id"], image)
        for annotation in content["annotations"]:
            if annotation.get("category_id") not in names:
                raise InputError(f"{path}: annotation {annotation.get('id')} has no category of the list")
            grouped.setdefault(annotation.get("image_id"), []).append(annotation)
    folders = [options.images] if options.images else _image_folders(root, paths[0], split)

    def samples():
        for image in images.values():
            image_path = find_image(image["file_name"], folders)
            shape = image_size(image_path)
            found = [
                _annotation(a, shape, category_of[names[a["category_id"]]], things, options, paths[0])
                for a in grouped.get(image["id"], [])
            ]
            yield ForeignImage(image_path, *paint(shape, found, options.order))

    return label_set, samples()


def _annotation(annotation, shape, category_id, things, options, path):
    from pycocotools import mask as coco_mask

    segmentation, (height, width) = annotation.get("segmentation"), shape
    where = f"{path}: annotation {annotation.get('id')}"
    is_thing = category_id in things
    crowd = bool(annotation.get("iscrowd")) and options.crowds
    try:
        if isinstance(segmentation, list) and segmentation:
            parts = [p for p in segmentation if len(p) >= 6]
            runs = coco_mask.merge(coco_mask.frPyObjects(parts, height, width))
        elif isinstance(segmentation, dict) and isinstance(segmentation["counts"], list):
            runs = coco_mask.frPyObjects(segmentation, height, width)
        elif isinstance(segmentation, dict):
            runs = segmentation
            # The decoder allocates as much memory as the size demands.
            if tuple(runs["size"]) != tuple(shape):
                raise InputError(
                    f"{where}: expected a mask of the size of its image, {tuple(shape)}, found {brief(runs['size'])}"
                )
        else:
            raise InputError(
                f"{where}: expected polygons or run lengths under segmentation, found {segmentation!r:.40}"
            )
        mask = coco_mask.decode(runs).astype(bool)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{where}: segmentation cannot be read: {error!r}") from error
    if mask.shape != tuple(shape):
        raise InputError(f"{where}: expected a mask of the size of its image, {tuple(shape)}, found {mask.shape}")
    return Annotation(mask, category_id, is_thing, crowd)


def _run_lengths(mask):
    """COCO's uncompressed run lengths: column by column, starting with a run of zeros."""
    flat = mask.ravel(order="F")
    borders = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], borders, [flat.size]])).tolist()
    return {"counts": [0, *counts] if flat[0] else counts, "size": list(mask.shape)}


def _polygons(mask):
    """Outlines with at least three points, through the corners of the pixels' squares as far as COCO counts them."""
    # At twice the size the outline follows the border of the pixels instead of the centres of the outermost ones.
    grown = cv2.resize(mask.view(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(grown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    polygons = [((o.reshape(-1, 2) + 0.5) / 2).ravel().round(2).tolist() for o in outlines]
    return [p for p in polygons if len(p) >= 6]


def _json_files(folder, split):
    if folder.is_file():
        return [folder]
    valid = {"val": "valid"}.get(split, split)
    places = [
        folder / f"annotations/instances_{split}.json",
        folder / f"annotations/instances_{split}2017.json",
        folder / "annotations/instances_default.json",
        folder / valid / "_annotations.coco.json",
        folder / "_annotations.coco.json",
        folder / "labels.json",
        folder / "result.json",
    ]
    for place in places:
        if place.is_file():
            stuff = place.with_name(place.name.replace("instances_", "stuff_"))
            return [place, stuff] if stuff != place and stuff.is_file() else [place]
    raise InputError(f"expected a COCO instances JSON at one of: {', '.join(map(str, places))}; found none")


def _image_folders(root, path, split):
    names = ("images", "data", f"{split}2017", split)
    return [root / "images" / split, path.parent, *(root / name for name in names), root]


def _is_stuff(path):
    return path.name.startswith("stuff_")


def _with_stuff(options, names):
    import dataclasses

    return dataclasses.replace(options, stuff=tuple(sorted({*options.stuff, *names})))
