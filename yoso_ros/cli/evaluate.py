# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros evaluate`: PQ, mask AP and mIoU of a model, or of stored predictions, on a data set; with images."""

import math
import os
from pathlib import Path

from yoso_ros.cli.segment import add_model_arguments, load_from_arguments

SUMMARY = "Measure PQ, mask AP and mIoU of a model, or of stored predictions, on a data set."
EXAMPLE = "yoso-ros evaluate --model yoso_mobilenetv2_camvid --data ../camvid --split val --output out/evaluate"


def add_arguments(parser):
    """Add this subcommand's arguments."""
    parser.add_argument("--data", required=True, help="root of the data set: COCO panoptic layout, or Cityscapes")
    parser.add_argument("--split", default="val", help="split of the data set (default: %(default)s)")
    parser.add_argument(
        "--tasks", default="panoptic", help="any of panoptic,instance,semantic, comma-separated (default: %(default)s)"
    )
    parser.add_argument(
        "--shortest-edge", type=int, nargs="+", metavar="PIXELS",
        help="input sizes; several give a table with one row each (default: the model's)",
    )  # fmt: skip
    parser.add_argument(
        "--longest-edge", type=int, metavar="PIXELS",
        help="limit of the longer edge at every size (default: the model's, in proportion to the shortest edge)",
    )  # fmt: skip
    parser.add_argument(
        "--predictions",
        help="evaluate this JSON instead of a model: COCO panoptic results (with their PNGs), or COCO instance results",
    )
    parser.add_argument(
        "--instances", metavar="JSON",
        help="true instances for AP, such as COCO's instances_val2017.json (default: panoptic ground-truth things)",
    )  # fmt: skip
    parser.add_argument("--output", default="out/evaluate", help="folder for the results (default: %(default)s)")
    parser.add_argument(
        "--pictures", type=int, default=4, help="number of best and of worst images to draw (default: %(default)s)"
    )
    add_model_arguments(parser)


def run(arguments):
    """Evaluate; writes report.json, per_class.md and best_N.png, worst_N.png (image, prediction, ground truth).

    For several sizes it writes scales.md, a combined report.json, and a folder per size with its own report.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return _run(arguments, shared_out=False)
    from yoso_ros.training.distributed import join_processes, leave_processes

    # Started by torchrun: each process takes its share of the images.
    arguments.device = str(join_processes(arguments.device))
    try:
        return _run(arguments, shared_out=True)
    finally:
        leave_processes()


def _run(arguments, shared_out):
    from yoso_ros.data import open_dataset
    from yoso_ros.errors import InputError
    from yoso_ros.evaluation.coco_instances import CocoInstances
    from yoso_ros.evaluation.evaluate import TASKS

    tasks = tuple(arguments.tasks.split(","))
    if set(tasks) - set(TASKS):
        raise InputError(f"--tasks: expected some of {','.join(TASKS)}, found {arguments.tasks!r}")
    if arguments.pictures < 0:
        raise InputError(f"--pictures: expected 0 or more, found {arguments.pictures}")
    for edge in (*(arguments.shortest_edge or ()), *filter(None, [arguments.longest_edge])):
        if edge < 1:
            raise InputError(f"--shortest-edge, --longest-edge: expected 1 or more, found {edge}")
    dataset = open_dataset(arguments.data, arguments.split)
    truth = CocoInstances(arguments.instances, dataset.label_set) if arguments.instances else None
    options = {"instance_truth": truth, "shared_out": shared_out}
    if arguments.predictions:
        return _evaluate_predictions(arguments, dataset, options)
    segmenters = _at_sizes(load_from_arguments(arguments), arguments)
    return _evaluate_model(arguments, dataset, segmenters, {**options, "tasks": tasks})


def _evaluate_predictions(arguments, dataset, options):
    from yoso_ros.evaluation import evaluate_predictions
    from yoso_ros.evaluation.recordings.frame_counts import FrameCounts

    counts = FrameCounts(dataset.label_set)
    found = evaluate_predictions(arguments.predictions, dataset, **options, frame_counts=counts)
    return _finish(arguments, {"predictions": arguments.predictions, **found}, Path(arguments.output), counts)


def _evaluate_model(arguments, dataset, segmenters, options):
    from yoso_ros.evaluation import evaluate_segmenter
    from yoso_ros.evaluation.recordings.frame_counts import FrameCounts
    from yoso_ros.evaluation.report import scales_table
    from yoso_ros.files import write_file, write_json

    output, reports = Path(arguments.output), []
    for segmenter in segmenters:
        counts = FrameCounts(dataset.label_set)
        report = {
            "model": arguments.model,
            "weights": arguments.weights,
            "backend": segmenter.backend,
            **_size_of(segmenter),
            **evaluate_segmenter(segmenter, dataset, **options, frame_counts=counts),
        }
        folder = output if len(segmenters) == 1 else output / str(report["shortest_edge"])
        _finish(arguments, report, folder, counts, segmenter, dataset)
        reports.append(report)
    if len(reports) > 1 and _is_first():
        table = scales_table(reports)
        write_file(output / "scales.md", f"{table}\n".encode())
        write_json(output / "report.json", {"data": arguments.data, "split": arguments.split, "scales": reports})
        print(f"{table}\nreport: {output}")
    return 0


def _is_first():
    from yoso_ros.processes import is_first

    return is_first()


def _size_of(segmenter):
    config = getattr(segmenter, "config", None)
    return {name: getattr(config, name) for name in ("shortest_edge", "longest_edge") if hasattr(config, name)}


def _at_sizes(segmenter, arguments):
    """One Segmenter per requested input size, all with the same engine."""
    if arguments.shortest_edge is None and arguments.longest_edge is None:
        return [segmenter]
    config, segmenters = segmenter.config, []
    for shortest in dict.fromkeys(arguments.shortest_edge or [config.shortest_edge]):
        longest = arguments.longest_edge or round(config.longest_edge * shortest / config.shortest_edge)
        segmenters.append(segmenter.at_size(shortest, longest))
    return segmenters


def _finish(arguments, report, output, counts, segmenter=None, dataset=None):
    from yoso_ros.evaluation.recordings.frame_counts import FILE_NAME, write_frame_counts
    from yoso_ros.evaluation.report import summary_table, write_report

    if not _is_first():
        return 0
    report = {"data": arguments.data, "split": arguments.split, **report}
    write_report(report, output)
    if "panoptic_quality" in report:
        write_frame_counts(counts.compute(), output)
    else:
        (output / FILE_NAME).unlink(missing_ok=True)  # left by an earlier run
    if segmenter is not None and "panoptic_quality" in report:
        _write_pictures(report, segmenter, dataset, arguments.pictures, output)
    print(summary_table(report))
    print(f"report and pictures: {output}")
    return 0


def _write_pictures(report, segmenter, dataset, count, output):
    import cv2
    import numpy as np

    from yoso_ros.evaluation.evaluate import match_classes
    from yoso_ros.evaluation.segment_maps import truth_panoptic
    from yoso_ros.files import write_file
    from yoso_ros.images.overlay import build_palette, overlay_image
    from yoso_ros.results import UNLABELLED_ID

    # Draw predictions in the colours of the data set: map their class ids to those of its label set.
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
