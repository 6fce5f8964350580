# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros evaluate`: PQ, SQ, RQ and mIoU of a model, or of stored predictions, on a data set; with pictures."""

import math
from pathlib import Path

from yoso_ros.cli.segment import add_model_arguments, load_from_arguments

SUMMARY = "Measure PQ and mIoU of a model, or of stored predictions, on a data set."
EXAMPLE = "yoso-ros evaluate --model yoso_mobilenetv2_camvid --data ../camvid --split val --output out/evaluate"


def add_arguments(parser):
    """Add this subcommand's arguments."""
    parser.add_argument("--data", required=True, help="root of the data set: COCO panoptic layout, or Cityscapes")
    parser.add_argument("--split", default="val", help="split of the data set (default: %(default)s)")
    parser.add_argument("--predictions", help="evaluate this COCO panoptic result JSON (PNGs beside it), not a model")
    parser.add_argument("--output", default="out/evaluate", help="folder for the results (default: %(default)s)")
    parser.add_argument(
        "--pictures", type=int, default=4, help="pictures of best and worst each (default: %(default)s)"
    )
    add_model_arguments(parser)


def run(arguments):
    """Evaluate; writes report.json, per_class.md and pictures best_N.png, worst_N.png (image, prediction, truth)."""
    from yoso_ros.data import open_dataset
    from yoso_ros.errors import InputError
    from yoso_ros.evaluation import evaluate_predictions, evaluate_segmenter
    from yoso_ros.evaluation.report import summary_table, write_report

    if arguments.pictures < 0:
        raise InputError(f"--pictures: expected 0 or more, found {arguments.pictures}")
    output = Path(arguments.output)
    dataset = open_dataset(arguments.data, arguments.split)
    if arguments.predictions:
        report = {"predictions": arguments.predictions, **evaluate_predictions(arguments.predictions, dataset)}
    else:
        segmenter = load_from_arguments(arguments)
        report = {
            "model": arguments.model,
            "weights": arguments.weights,
            "backend": segmenter.backend,
            **evaluate_segmenter(segmenter, dataset),
        }
    report = {"data": arguments.data, "split": arguments.split, **report}
    write_report(report, output)
    if not arguments.predictions:
        _write_pictures(report, segmenter, dataset, arguments.pictures, output)
    print(summary_table(report))
    print(f"report and pictures: {output}")
    return 0


def _write_pictures(report, segmenter, dataset, count, output):
    import cv2
    import numpy as np

    from yoso_ros.evaluation.evaluate import match_classes, truth_panoptic
    from yoso_ros.evaluation.report import write_file
    from yoso_ros.results import UNLABELLED_ID
    from yoso_ros.ros.overlay import build_palette, overlay_image

    # Predictions in the colours of the data set: their class ids are changed to those of its label set.
    classes = [dataset.label_set.contiguous_id[c] for c in match_classes(segmenter.label_set, dataset.label_set)]
    table = np.full(256, UNLABELLED_ID >> 8, np.uint16)
    table[: len(classes)] = classes
    palette = build_palette(dataset.label_set)
    ranked = sorted((i for i in report["per_image"] if not math.isnan(i["PQ"])), key=lambda image: image["PQ"])
    for old in (*output.glob("best_*.png"), *output.glob("worst_*.png")):
        old.unlink()
    for name, images in (("worst", ranked[:count]), ("best", ranked[::-1][:count])):
        for place, image in enumerate(images, start=1):
            sample = dataset[image["index"]]
            panoptic = segmenter(sample.image).panoptic
            panels = [
                overlay_image(sample.image, (table[panoptic >> 8] << 8) | (panoptic & 255), palette),
                overlay_image(sample.image, truth_panoptic(sample.ids, sample.segments, dataset.label_set), palette),
            ]
            row = np.concatenate([sample.image, *panels], axis=1)
            title = f"{Path(image['file_name']).name}   PQ {image['PQ']:.1f}   image | prediction | truth"
            write_file(
                output / f"{name}_{place}.png", cv2.imencode(".png", _with_title(row, title)[..., ::-1])[1].tobytes()
            )


def _with_title(picture, title):
    import cv2

    picture = cv2.copyMakeBorder(picture, 28, 0, 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    return cv2.putText(picture, title, (6, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
