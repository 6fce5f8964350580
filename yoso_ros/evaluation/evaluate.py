# SPDX-License-Identifier: Apache-2.0
"""A segmenter on a data set: PQ and mIoU of panoptic results, mask AP of instances, mIoU of semantic maps.

Legend: `H W` size of an image in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tqdm import tqdm

from yoso_ros.errors import InputError
from yoso_ros.evaluation.average_precision import AveragePrecision, predicted_instances, true_instances
from yoso_ros.evaluation.mean_iou import MeanIoU
from yoso_ros.evaluation.scores import Scores
from yoso_ros.evaluation.segment_maps import coco_prediction, semantic_map
from yoso_ros.processes import gather, is_first, reduce, share_of

if TYPE_CHECKING:
    from yoso_ros.evaluation.recordings.frame_counts import FrameCounts
    from yoso_ros.label_sets import LabelSet

TASKS = ("panoptic", "instance", "semantic")


class Prediction(NamedTuple):
    """The predictions for one image, in the data set's terms; None for a task that is not evaluated.

    Attributes:
        panoptic: (ids int (H, W), segments_info list), as for `PanopticQuality.update`.
        instances: list of dict, as for `AveragePrecision.update`.
        semantic: uint8 (H, W), class ids of the data set's label set.
    """

    panoptic: tuple | None = None
    instances: list | None = None
    semantic: np.ndarray | None = None


def evaluate_segmenter(
    segmenter: Any,
    dataset: Any,
    progress: bool = True,
    tasks: Sequence[str] = ("panoptic",),
    outputs: Callable[..., Any] | None = None,
    instance_truth: Callable[..., Any] | None = None,
    shared_out: bool = False,
    frame_counts: FrameCounts | None = None,
) -> dict[str, Any] | None:
    """Run a segmenter over a data set.

    The model's classes are matched to the data set's by name, so their order may differ. Unlabelled pixels count as
    void predictions: they are missing from the segments and from the IoU.

    Args:
        segmenter: `Segmenter`, or another callable from uint8 (H, W, 3) RGB to `PanopticResult` with a `label_set`.
        dataset: samples with `label_set`, such as `yoso_ros.data.CocoPanoptic`.
        progress: whether to show a progress bar.
        tasks: of `TASKS`; which outputs of the network are evaluated.
        outputs: for tasks other than panoptic alone: callable (segmenter, image, tasks) to
            `yoso_ros.inference.frame_outputs.FrameOutputs`; None uses `segmenter.outputs`.
        instance_truth: callable from a sample to its true instances (see `AveragePrecision.update`), such as
            `CocoInstances`; None uses the things of the panoptic ground truth.
        shared_out: True if every process of `torch.distributed` calls this: each takes its share of the images, and
            all get the result of the whole data set.
        frame_counts: `FrameCounts` to be filled with the images, by their file names; task panoptic.

    Returns:
        dict with
        "images": number of images,
        "panoptic_quality" (task panoptic): see `PanopticQuality.compute`; category ids are the data set's,
        "mean_iou" (task panoptic): of the classes of the panoptic results, percent,
        "average_precision" (task instance): see `AveragePrecision.compute`,
        "semantic_mean_iou" (task semantic): of the semantic outputs, percent,
        "per_class": list of dict in the order of the label set: name, is_thing, category_id; panoptic: pq, sq, rq,
        semantic_iou (0..1, NaN where not seen), iou (sum over matches), tp, fp, fn; instance: ap (0..1, NaN for stuff);
        semantic: semantic_output_iou,
        "per_image": list of dict: index, image_id, file_name, with panoptic PQ (percent, NaN if there is nothing to
        find),
        "timings_ms": mean of each stage per image.

    Raises:
        InputError: a sample has a fault, the model has a class that the data set lacks, or a task is unknown.
    """
    categories = match_classes(segmenter.label_set, dataset.label_set)
    classes = np.array([dataset.label_set.contiguous_id[c] for c in categories], dtype=np.uint8)
    timings = {}

    def predict(sample):
        if set(tasks) == {"panoptic"}:
            panoptic = segmenter(sample.image)
            spent, instances, semantic = panoptic.timings_ms, None, None
        else:
            found = outputs(segmenter, sample.image, tasks) if outputs else segmenter.outputs(sample.image, tasks)
            panoptic, instances, semantic, spent = found
        for stage, milliseconds in spent.items():
            timings[stage] = timings.get(stage, 0.0) + milliseconds / len(dataset)
        return Prediction(
            panoptic and coco_prediction(panoptic, categories),
            instances and predicted_instances(instances, categories),
            None if semantic is None else classes[semantic],
        )

    report = evaluate_images(predict, dataset, progress, tasks, instance_truth, shared_out, frame_counts)
    every = gather(timings) if shared_out else [timings]
    return {**report, "timings_ms": {stage: sum(t.get(stage, 0.0) for t in every) for stage in timings}}


def match_classes(model_labels: LabelSet, data_labels: LabelSet) -> list[int]:
    """The data set's category id for each class of a model, matched by name: list of int.

    Raises:
        InputError: the data set lacks a class of the model, or disagrees on whether it is a thing.
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


def evaluate_images(
    predict: Callable[..., Any],
    dataset: Any,
    progress: bool = True,
    tasks: Sequence[str] = ("panoptic",),
    instance_truth: Callable[..., Any] | None = None,
    shared_out: bool = False,
    frame_counts: FrameCounts | None = None,
) -> dict[str, Any]:
    """Evaluate predictions on every image of a data set.

    Args:
        predict: callable from a sample to its `Prediction`; everything else as for `evaluate_segmenter`.

    Returns:
        As `evaluate_segmenter`, without "timings_ms".
    """
    if not tasks or set(tasks) - set(TASKS):
        raise InputError(f"expected tasks of {', '.join(TASKS)}, found {', '.join(tasks) or 'none'}")
    if len(dataset) == 0:
        raise InputError("expected at least one image to evaluate on, found none")
    scores, per_image = _TaskScores(dataset.label_set, tasks, instance_truth), []
    indices = range(len(dataset))
    bar = tqdm(
        share_of(indices) if shared_out else indices,
        unit="image",
        desc="evaluate",
        disable=not progress or (shared_out and not is_first()),
    )
    for index in bar:
        sample = dataset[index]
        prediction = predict(sample)
        try:
            row = scores.add(sample, prediction)
        except InputError as error:
            raise InputError(f"{sample.file_name}: {error}") from error
        per_image.append({"index": index, "image_id": sample.image_id, "file_name": sample.file_name, **row})
        if "panoptic" in tasks:
            bar.set_postfix(PQ=f"{scores.panoptic.pq:.2f}", refresh=False)
            if frame_counts is not None:
                frame_counts.add(Path(sample.file_name).name, *scores.panoptic.last)
    if shared_out:
        if frame_counts is not None:
            frame_counts.collect(gather(frame_counts))
        scores.reduce()
        per_image = sorted((row for share in gather(per_image) for row in share), key=lambda row: row["index"])
    return {"images": len(dataset), **scores.compute(), "per_image": per_image}


class _TaskScores:
    """The metrics of the evaluated tasks; None for the others."""

    def __init__(self, label_set, tasks, instance_truth):
        self._label_set, self._categories = label_set, label_set.coco_categories()
        self._instance_truth = instance_truth or self._panoptic_things
        self.panoptic = Scores(label_set) if "panoptic" in tasks else None
        self.instance = AveragePrecision(self._categories) if "instance" in tasks else None
        self.semantic = MeanIoU(len(label_set)) if "semantic" in tasks else None

    def _panoptic_things(self, sample):
        return true_instances(sample.ids, sample.segments, self._categories)

    def add(self, sample, prediction):
        """Add an image; returns its own results: dict with "PQ", or empty."""
        if self.instance is not None:
            self.instance.update(sample.image_id, prediction.instances, self._instance_truth(sample))
        if self.semantic is not None:
            truth = semantic_map(sample.ids, sample.segments, self._label_set)
            self.semantic.update(prediction.semantic, truth)
        if self.panoptic is None:
            return {}
        return {"PQ": self.panoptic.add(*prediction.panoptic, sample.ids, sample.segments)}

    def reduce(self):
        if self.panoptic is not None:
            self.panoptic.reduce()
        self.instance, self.semantic = (metric and reduce(metric) for metric in (self.instance, self.semantic))

    def compute(self):
        rows = [{"name": c.name, "is_thing": c.is_thing, "category_id": c.dataset_id} for c in self._label_set.classes]
        report = {"per_class": rows}
        if self.panoptic is not None:
            report = self.panoptic.compute()
            rows = report["per_class"]
        if self.instance is not None:
            report["average_precision"] = self.instance.compute()
            for row in rows:
                row["ap"] = report["average_precision"]["per_class"].get(row["category_id"], math.nan)
        if self.semantic is not None:
            report["semantic_mean_iou"], iou = self.semantic.compute()
            for row, value in zip(rows, iou.tolist(), strict=True):
                row["semantic_output_iou"] = value
        return report
