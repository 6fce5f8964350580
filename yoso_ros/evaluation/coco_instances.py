# SPDX-License-Identifier: Apache-2.0
"""COCO's instance annotations as ground truth for mask AP: the official numbers are measured against these."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from yoso_ros.data.coco_json import read_coco
from yoso_ros.errors import InputError
from yoso_ros.evaluation.coco_api import run_lengths_of_segmentation

if TYPE_CHECKING:
    from yoso_ros.data.samples import PanopticSample
    from yoso_ros.label_sets import LabelSet
REQUIRED = {
    "images": ("id",),
    "annotations": ("image_id", "category_id", "iscrowd", "area"),
    "categories": ("id", "name"),
}


class CocoInstances:
    """True instances of a data set's images from a JSON such as `instances_val2017.json`.

    They differ from the things of the panoptic ground truth: masks may overlap and are polygons.

    Args:
        annotations_json: the JSON (images, annotations, categories).
        label_set: `LabelSet` of the data set; its things must have the JSON's category ids and names.

    Raises:
        InputError: the JSON is missing or malformed, or its categories are not the label set's things.
    """

    def __init__(self, annotations_json: str | Path, label_set: LabelSet):
        self._path = Path(annotations_json)
        try:
            content = read_coco(self._path, "COCO instances", REQUIRED)
            categories = {category["id"]: category["name"] for category in content["categories"]}
            self._images = {image["id"]: [] for image in content["images"]}
            for annotation in content["annotations"]:
                self._images[annotation["image_id"]].append(
                    {key: annotation[key] for key in ("category_id", "segmentation", "iscrowd", "area")}
                )
        except KeyError as error:
            raise InputError(f"{self._path}: expected COCO instance annotations: {error!r}") from error
        things = {c.dataset_id: c.name for c in label_set.classes if c.is_thing}
        for number, name in categories.items():
            if things.get(number) != name:
                raise InputError(
                    f"{self._path}: category {number} {name!r} is not a thing of label set {label_set.name}"
                )

    def __call__(self, sample: PanopticSample) -> list[dict[str, Any]]:
        """The true instances of a `PanopticSample`, in the form for `AveragePrecision.update`.

        Raises:
            InputError: the JSON does not have the image.
        """
        if sample.image_id not in self._images:
            raise InputError(f"{self._path} has no image {sample.image_id}")
        return [
            {**a, "segmentation": run_lengths_of_segmentation(a["segmentation"], *sample.ids.shape)}
            for a in self._images[sample.image_id]
        ]
