# SPDX-License-Identifier: Apache-2.0
"""PQ and mIoU of a segmenter, or of stored predictions, on a data set.

Legend: `H W` size of an image in pixels, `C` classes of the data set's label set.
"""

import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from yoso_ros.data.samples import VOID_ID, ids_from_rgb, read_image
from yoso_ros.errors import InputError
from yoso_ros.evaluation.mean_iou import MeanIoU
from yoso_ros.evaluation.panoptic_quality import PanopticQuality, summarise
from yoso_ros.results import MAX_INSTANCES, UNLABELLED_CLASS, UNLABELLED_ID, panoptic_id


def evaluate_segmenter(segmenter, dataset, progress=True):
    """Run a segmenter over a data set.

    The model's classes are found in the data set by name, so their order may differ. Unlabelled pixels count as void
    predictions: they are missing from the segments and from the IoU.

    Args:
        segmenter: `Segmenter`, or another callable from uint8 (H, W, 3) RGB to `PanopticResult` with a `label_set`.
        dataset: samples with `label_set`, as `yoso_ros.data.CocoPanoptic`.
        progress: whether to show a progress bar.

    Returns:
        dict with
        "images": number of images,
        "panoptic_quality": see `PanopticQuality.compute`; category ids are the data set's,
        "mean_iou": percent,
        "per_class": list of dict in the order of the label set: name, is_thing, category_id, pq, sq, rq, semantic_iou
        (0..1, NaN where not seen), iou (sum over matches), tp, fp, fn,
        "per_image": list of dict: index, image_id, file_name, PQ (percent, NaN where there is nothing to find),
        "timings_ms": mean of each stage per image.

    Raises:
        InputError: a sample has a fault, or the model has a class that the data set lacks.
    """
    categories = match_classes(segmenter.label_set, dataset.label_set)
    timings = {}

    def predict(sample):
        result = segmenter(sample.image)
        for stage, spent in result.timings_ms.items():
            timings[stage] = timings.get(stage, 0.0) + spent / len(dataset)
        return coco_prediction(result, categories)

    return {**_evaluate(predict, dataset, progress), "timings_ms": timings}


def evaluate_predictions(predictions_json, dataset, predictions_folder=None, progress=True):
    """Evaluate predictions that are stored in COCO's panoptic result format.

    Args:
        predictions_json: JSON with `annotations`: image_id, file_name and segments_info (id, category_id) per image.
        dataset: see `evaluate_segmenter`.
        predictions_folder: folder of the PNG files; by default the path of the JSON without `.json`.
        progress: whether to show a progress bar.

    Returns:
        As `evaluate_segmenter`, without "timings_ms".

    Raises:
        InputError: a file is missing or malformed, or an image has no prediction.
    """
    path = Path(predictions_json)
    folder = Path(predictions_folder or path.with_suffix(""))
    if not path.is_file():
        raise InputError(f"expected predictions in COCO panoptic format at {path}, found no file")
    try:
        stored = {
            annotation["image_id"]: (
                folder / annotation["file_name"],
                [{"id": s["id"], "category_id": s["category_id"]} for s in annotation["segments_info"]],
            )
            for annotation in json.loads(path.read_bytes())["annotations"]
        }
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected predictions in COCO panoptic format: {error!r}") from error

    def predict(sample):
        if sample.image_id not in stored:
            raise InputError(f"{path}: no prediction for image {sample.image_id} ({sample.file_name})")
        png, segments = stored[sample.image_id]
        return ids_from_rgb(read_image(png)), segments

    return _evaluate(predict, dataset, progress)


def match_classes(model_labels, data_labels):
    """The data set's category id of each class of a model, found by name: list of int.

    Raises:
        InputError: the data set lacks a class of the model, or takes a thing for stuff.
    """
    by_name = {label.name: label for label in data_labels.classes}
    for label in model_labels.classes:
        if label.name not in by_name:
            raise InputError(f"the model has class {label.name!r}, which the data set ({data_labels.name}) lacks")
        if by_name[label.name].is_thing != label.is_thing:
            kinds = ("stuff", "thing")
            raise InputError(
                f"class {label.name!r} is {kinds[label.is_thing]} for the model and "
                f"{kinds[not label.is_thing]} for the data set ({data_labels.name})"
            )
    return [by_name[label.name].dataset_id for label in model_labels.classes]


def coco_prediction(result, categories):
    """A `PanopticResult` in COCO's terms.

    Args:
        result: `PanopticResult`.
        categories: the data set's category id of each class id.

    Returns:
        (ids int32 (H, W), 0 = void; segments_info list with id and category_id). Ids are moved by one, because the id
        rule uses 0 for the first class if it is stuff.
    """
    ids = np.where(result.panoptic == UNLABELLED_ID, VOID_ID, result.panoptic.astype(np.int32) + 1)
    return ids, [{"id": s.id + 1, "category_id": categories[s.class_id]} for s in result.segments]


def semantic_map(ids, segments, label_set):
    """Class id of each pixel of a segment map: int (H, W) and segments_info to uint8 (H, W), 255 outside segments."""
    classes = [label_set.contiguous_id[s["category_id"]] for s in segments]
    return _paint(ids, segments, classes, UNLABELLED_CLASS).astype(np.uint8)


def truth_panoptic(ids, segments, label_set):
    """A segment map by the id rule, for pictures: int (H, W) and segments_info to uint16 (H, W), 65535 outside.

    Instances count from 1 in the order of `segments`; those past 255 share the last number.
    """
    counts, values = {}, []
    for segment in segments:
        class_id = label_set.contiguous_id[segment["category_id"]]
        counts[class_id] = min(counts.get(class_id, 0) + 1, MAX_INSTANCES)
        values.append(panoptic_id(class_id, counts[class_id] if label_set.classes[class_id].is_thing else 0))
    return _paint(ids, segments, values, UNLABELLED_ID).astype(np.uint16)


def _paint(ids, segments, values, outside):
    """The value of each pixel's segment, int64 (H, W)."""
    known = np.array([VOID_ID, *(s["id"] for s in segments)], dtype=np.int64)
    values = np.array([outside, *values], dtype=np.int64)
    order = np.argsort(known)
    nearest = order[np.minimum(np.searchsorted(known, ids, sorter=order), len(known) - 1)]
    return np.where(known[nearest] == ids, values[nearest], outside)


class Scores:
    """PQ and mIoU of predictions against truth, image by image; memory does not grow.

    Args:
        label_set: `LabelSet` of the truth.

    Attributes:
        mean_iou: `MeanIoU`, which has the confusion matrix.
    """

    def __init__(self, label_set):
        self._label_set = label_set
        self._quality, self.mean_iou = PanopticQuality(label_set.coco_categories()), MeanIoU(len(label_set))

    @property
    def pq(self):
        """PQ of all classes so far, percent."""
        return self._quality.compute()["All"]["PQ"]

    def add(self, ids, segments, truth_ids, truth_segments):
        """Add one image, arguments as for `PanopticQuality.update`; returns its PQ (percent, NaN without a segment)."""
        counts = self._quality.count(ids, segments, truth_ids, truth_segments)
        self._quality.totals += counts
        truth = semantic_map(truth_ids, truth_segments, self._label_set)
        self.mean_iou.update(semantic_map(ids, segments, self._label_set), truth)
        return summarise(self._quality.categories, counts)["All"]["PQ"]

    def compute(self):
        """The result so far: dict with "panoptic_quality", "mean_iou" and "per_class", see `evaluate_segmenter`."""
        result = self._quality.compute()
        miou, iou = self.mean_iou.compute()
        per_class = [
            {
                "name": label.name,
                "is_thing": label.is_thing,
                "category_id": label.dataset_id,
                **result["per_class"][label.dataset_id],
                "semantic_iou": float(iou[i]),
            }
            for i, label in enumerate(self._label_set.classes)
        ]
        return {"panoptic_quality": result, "mean_iou": miou, "per_class": per_class}


def _evaluate(predict, dataset, progress):
    if len(dataset) == 0:
        raise InputError("expected at least one image to evaluate on, found none")
    scores, per_image = Scores(dataset.label_set), []
    bar = tqdm(range(len(dataset)), unit="image", desc="evaluate", disable=not progress)
    for index in bar:
        sample = dataset[index]
        ids, segments = predict(sample)
        try:
            image_pq = scores.add(ids, segments, sample.ids, sample.segments)
        except InputError as error:
            raise InputError(f"{sample.file_name}: {error}") from error
        per_image.append({"index": index, "image_id": sample.image_id, "file_name": sample.file_name, "PQ": image_pq})
        bar.set_postfix(PQ=f"{scores.pq:.2f}", refresh=False)
    return {"images": len(dataset), **scores.compute(), "per_image": per_image}
