# SPDX-License-Identifier: Apache-2.0
"""COCO's average precision of instance masks, computed by faster-coco-eval or otherwise pycocotools.

Legend: `C` thing categories.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from yoso_ros.errors import InputError
from yoso_ros.evaluation.coco_api import load_coco_api, run_lengths

if TYPE_CHECKING:
    from yoso_ros.fusion.instances import Instances

# Axes of COCOeval's precision: IoU threshold (0.50 to 0.95), recall, category, area, most detections (1, 10, 100).
IOU_50, IOU_75, ALL_IOUS = 0, 5, slice(None)
ALL_AREAS, SMALL, MEDIUM, LARGE = range(4)  # small is below 32x32 pixels, large is above 96x96
HUNDRED_DETECTIONS = 2
NUMBERS = {
    "AP": (ALL_IOUS, ALL_AREAS),
    "AP50": (IOU_50, ALL_AREAS),
    "AP75": (IOU_75, ALL_AREAS),
    "APs": (ALL_IOUS, SMALL),
    "APm": (ALL_IOUS, MEDIUM),
    "APl": (ALL_IOUS, LARGE),
}


class AveragePrecision:
    """AP of instance masks over a data set, image by image; only run lengths of the masks are kept.

    Args:
        categories: list of dict with `id`, `name` and `isthing` (COCO categories); stuff is ignored.

    Attributes:
        images: dict of image id to (predicted, truth), as passed to `update`. Combined over several processes they
            give the result of the whole data set, see `merge`.
    """

    def __init__(self, categories: list[dict[str, Any]]):
        self.categories = sorted((dict(c) for c in categories if c["isthing"]), key=lambda c: c["id"])
        self._known = [c["id"] for c in self.categories]
        self.images = {}

    def update(self, image_id: int | str, predicted: list[dict[str, Any]], truth: list[dict[str, Any]]) -> None:
        """Add one image.

        Args:
            image_id: the data set's id of the image, int or str; all of one type.
            predicted: list of dict with category_id, score and segmentation (compressed run lengths).
            truth: list of dict with category_id, segmentation, iscrowd and area (pixels; distinguishes small, medium
                and large), as returned by `true_instances`.

        Raises:
            InputError: the image was added before, or a category is not among the things of the data set.
        """
        if image_id in self.images:
            raise InputError(f"AveragePrecision: expected every image once, found {image_id} twice")
        for kind, instances in (("predicted", predicted), ("true", truth)):
            unknown = sorted({i["category_id"] for i in instances}.difference(self._known), key=str)
            if unknown:
                raise InputError(f"a {kind} instance has category {unknown[0]!r}; known things: {self._known}")
        self.images[image_id] = (list(predicted), list(truth))

    def merge(self, other: AveragePrecision) -> None:
        """Add the images of another AveragePrecision with the same categories."""
        for image_id, (predicted, truth) in other.images.items():
            self.update(image_id, predicted, truth)

    def compute(self) -> dict[str, Any]:
        """The result so far.

        Returns:
            dict with "AP", "AP50", "AP75", "APs", "APm", "APl" in percent, "N" categories with ground truth, and
            "per_class": {category id: AP 0..1}. Anything without ground truth is NaN and excluded from the means.

        Raises:
            InputError: neither of the two libraries is installed.
        """
        if not self.categories or not self.images:
            return {**dict.fromkeys(NUMBERS, math.nan), "N": 0, "per_class": dict.fromkeys(self._known, math.nan)}
        precision = self._precision()
        per_class = {c: _mean(precision[:, :, i, ALL_AREAS]) for i, c in enumerate(self._known)}
        return {
            **{name: 100 * _mean(precision[iou, ..., area]) for name, (iou, area) in NUMBERS.items()},
            "N": sum(not math.isnan(value) for value in per_class.values()),
            "per_class": per_class,
        }

    def _precision(self):
        """COCOeval's precision, float64 (10, 101, C, 4); -1 without ground truth."""
        api = load_coco_api()
        # In the order of the image ids, as in COCOeval, because it decides between equal scores.
        images = [self.images[image_id] for image_id in sorted(self.images)]
        predicted = [
            # One area at a time: pycocotools 2.0.11 fails on more than 255 masks at once.
            {**p, "image_id": n, "iscrowd": 0, "area": float(api.masks.area(p["segmentation"]))}
            for n, (some, _) in enumerate(images, 1)
            for p in some
        ]
        truth = [{**t, "image_id": n} for n, (_, some) in enumerate(images, 1) for t in some]
        numbers = range(1, len(images) + 1)
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
            indices = [self._index(api, annotations, numbers) for annotations in (truth, predicted)]
            evaluation = api.evaluation(*indices, "segm")
            evaluation.evaluate()
            evaluation.accumulate()
        return np.asarray(evaluation.eval["precision"])[..., HUNDRED_DETECTIONS]

    def _index(self, api, annotations, images):
        index = api.index()
        sizes = {a["image_id"]: a["segmentation"]["size"] for a in annotations}
        index.dataset = {
            "info": {},
            "images": [
                {"id": n, "height": height, "width": width}
                for n, (height, width) in ((n, sizes.get(n, (0, 0))) for n in images)
            ],
            "categories": [{"id": c["id"], "name": c["name"]} for c in self.categories],
            # From 1: COCOeval treats a match with id 0 as none.
            "annotations": [{**a, "id": n} for n, a in enumerate(annotations, 1)],
        }
        index.createIndex()
        return index


def predicted_instances(instances: Instances, categories: Sequence[int]) -> list[dict[str, Any]]:
    """Convert the `Instances` of an image to COCO results for `AveragePrecision.update`.

    Args:
        instances: `Instances`.
        categories: the data set's category id of each class id.
    """
    proposals, first, position = np.unique(instances.proposals.cpu().numpy(), return_index=True, return_inverse=True)
    # A proposal that occurs with several classes has one mask.
    segmentations = run_lengths(instances.masks[first.tolist()].cpu().numpy())
    pairs = zip(instances.class_ids.tolist(), instances.scores.tolist(), position.tolist(), strict=True)
    return [{"category_id": categories[c], "score": s, "segmentation": segmentations[i]} for c, s, i in pairs]


def true_instances(
    ids: np.ndarray, segments: list[dict[str, Any]], categories: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The things of a panoptic ground truth for `AveragePrecision.update`; a crowd segment is a crowd region.

    Args:
        ids: int (H, W), segment id per pixel.
        segments: COCO `segments_info` list: id, category_id and optionally iscrowd. Those without any pixel are
            ignored.
        categories: list of dict with `id` and `isthing`.
    """
    things = {c["id"] for c in categories if c["isthing"]}
    found = [(s, ids == s["id"]) for s in segments if s["category_id"] in things]
    found = [(s, mask, int(mask.sum())) for s, mask in found if mask.any()]
    encoded = run_lengths([mask for _, mask, _ in found])
    return [
        {"category_id": s["category_id"], "iscrowd": int(s.get("iscrowd", 0)), "area": area, "segmentation": lengths}
        for (s, _, area), lengths in zip(found, encoded, strict=True)
    ]


def _mean(precision):
    known = precision[precision > -1]
    return float(known.mean()) if known.size else math.nan
