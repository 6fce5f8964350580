# SPDX-License-Identifier: Apache-2.0
"""Evaluation of stored predictions in COCO's panoptic or instance result format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yoso_ros.data.samples import ids_from_rgb
from yoso_ros.errors import InputError
from yoso_ros.evaluation.evaluate import Prediction, evaluate_images
from yoso_ros.images.encoded import read_image
from yoso_ros.reading import path_inside, read_json

if TYPE_CHECKING:
    from yoso_ros.evaluation.recordings.frame_counts import FrameCounts

RESULT_KEYS = ("image_id", "category_id", "score", "segmentation")


def evaluate_predictions(
    predictions_json: str | Path,
    dataset: Any,
    predictions_folder: str | Path | None = None,
    progress: bool = True,
    instance_truth: Callable[..., Any] | None = None,
    shared_out: bool = False,
    frame_counts: FrameCounts | None = None,
) -> dict[str, Any]:
    """Evaluate stored predictions: PQ and mIoU of panoptic results, mask AP of instance results.

    Args:
        predictions_json: COCO's panoptic results, an object with `annotations`: image_id, file_name and segments_info
            (id, category_id) per image; or COCO's instance results, a list of objects with image_id, category_id, score
            and segmentation (run lengths).
        dataset: see `evaluate_segmenter`.
        predictions_folder: folder of the PNG files of panoptic results; by default the path of the JSON without
            `.json`.
        progress, instance_truth, shared_out, frame_counts: see `evaluate_segmenter`.

    Returns:
        As `evaluate_segmenter`, without "timings_ms".

    Raises:
        InputError: a file is missing or malformed, or an image has no panoptic prediction.
    """
    path = Path(predictions_json)
    content = read_json(path, "predictions in COCO panoptic format or instance format")
    if isinstance(content, list):
        tasks, predict = ("instance",), _instance_results(content, path)
    else:
        tasks = ("panoptic",)
        predict = _panoptic_results(content, path, Path(predictions_folder or path.with_suffix("")))
    return evaluate_images(predict, dataset, progress, tasks, instance_truth, shared_out, frame_counts)


def _panoptic_results(content, path, folder):
    try:
        stored = {
            annotation["image_id"]: (
                path_inside(folder, annotation["file_name"], path),
                [{"id": s["id"], "category_id": s["category_id"]} for s in annotation["segments_info"]],
            )
            for annotation in content["annotations"]
        }
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: expected predictions in COCO panoptic format: {error!r}") from error

    def predict(sample):
        if sample.image_id not in stored:
            raise InputError(f"{path}: no prediction for image {sample.image_id} ({sample.file_name})")
        png, segments = stored[sample.image_id]
        return Prediction(panoptic=(ids_from_rgb(read_image(png)), segments))

    return predict


def _instance_results(content, path):
    stored = {}
    for index, result in enumerate(content):
        lacking = [key for key in RESULT_KEYS if not isinstance(result, dict) or key not in result]
        if lacking:
            raise InputError(
                f"{path}: expected predictions in COCO instance format, but [{index}] lacks {', '.join(lacking)}"
            )
        segmentation = result["segmentation"]
        if not isinstance(segmentation, dict) or not isinstance(segmentation.get("counts"), str):
            raise InputError(
                f"{path}: expected compressed run lengths as segmentation, found another form at [{index}]"
            )
        stored.setdefault(result["image_id"], []).append({key: result[key] for key in RESULT_KEYS[1:]})

    def predict(sample):
        height, width = sample.ids.shape
        instances = stored.get(sample.image_id, [])  # for an image without a result nothing was found
        for size in (i["segmentation"].get("size") for i in instances):
            if size != [height, width]:
                raise InputError(f"{path}: a mask of image {sample.image_id} has size {size}, not {[height, width]}")
        return Prediction(instances=instances)

    return predict
