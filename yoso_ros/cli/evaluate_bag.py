# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros evaluate-bag`: a model on every frame of a recording, with a report."""

import shlex
from pathlib import Path

from yoso_ros.cli import evaluate_bag_live, evaluate_bag_many
from yoso_ros.cli.segment import add_model_arguments, load_from_arguments
from yoso_ros.errors import InputError

SUMMARY = "Run a model over every frame of a recording and report accuracy, stability and times."
EXAMPLE = (
    "yoso-ros evaluate-bag my_bag --model yoso_mobilenetv2_camvid --output out/evaluate_bag\n"
    "         yoso-ros evaluate-bag my_bag --live --rate 1 --output out/live\n"
    "         torchrun --nproc-per-node 2 -m yoso_ros evaluate-bag month/* --output out/month"
)


def add_arguments(parser):
    """Declare the options."""
    parser.add_argument(
        "bag", nargs="+", help="the recording: a folder, .mcap or .db3; each of several gets its own report folder"
    )
    parser.add_argument("--topic", help="image topic, if there are several cameras")
    parser.add_argument("--start", type=float, metavar="S", help="skip the first S seconds of the recording")
    parser.add_argument("--stop", type=float, metavar="S", help="stop S seconds after the first frame of the recording")
    parser.add_argument("--frames", type=int, metavar="N", help="stop after N frames")
    parser.add_argument(
        "--truth", metavar="PREFIX", help="topics of the ground truth (default: /ground_truth/panoptic if present)"
    )
    parser.add_argument("--no-truth", action="store_true", help="ignore the ground truth in the recording")
    parser.add_argument(
        "--label-set",
        help="label set of the ground truth: name or YAML file (default: the recording's, or the model's)",
    )
    parser.add_argument("--output", default="out/evaluate_bag", help="folder for the results (default: %(default)s)")
    parser.add_argument("--pictures", type=int, default=6, help="worst frames in the report (default: %(default)s)")
    parser.add_argument(
        "--depth", metavar="TOPIC", help="aligned depth images (default: the only ones in the recording)"
    )
    parser.add_argument(
        "--distance-bands", type=float, nargs="+", metavar="METRES", help="edges between the bands (default: 2 5 10 20)"
    )
    parser.add_argument("--save-labels", action="store_true", help="save the label images, for yoso-ros compare")
    add_model_arguments(parser)
    evaluate_bag_live.add_arguments(parser)


def run(arguments):
    """Evaluate; writes report.html, report.json, report.md, and segments.csv or, for a live run, the node's log."""
    if arguments.pictures < 0:
        raise InputError(f"--pictures: expected 0 or more, found {arguments.pictures}")
    if not arguments.live:
        given = {"sweep": arguments.sweep, "node": arguments.node, "hz": arguments.hz, "rate": arguments.rate != 1}
        for name in (name for name, value in given.items() if value):
            raise InputError(f"--{name} needs --live")
    if len(arguments.bag) > 1:
        if arguments.live:
            raise InputError(f"--live: expected one recording, found {len(arguments.bag)}")
        return evaluate_bag_many.run(arguments, _open, _run_every_frame)
    (arguments.bag,) = arguments.bag
    source, output = _open(arguments), Path(arguments.output)
    if arguments.live:
        _run_live(arguments, source, output)
    else:
        _run_every_frame(arguments, source, output, load_from_arguments(arguments))
    print(f"{output}/report.html")
    return 0


def _open(arguments):
    """The requested frames of the recording."""
    from yoso_ros.bags import open_source

    source = open_source(arguments.bag, arguments.topic)
    if not hasattr(source, "bag"):
        raise InputError(f"{arguments.bag}: expected a recording (rosbag2 folder, .mcap, .db3); see yoso-ros bag")
    return _part(source, arguments)


def _part(source, arguments):
    if arguments.frames is not None and arguments.frames < 1:
        raise InputError(f"--frames: expected 1 or more, found {arguments.frames}")
    if arguments.start is None and arguments.stop is None:
        return source.part(0, arguments.frames)
    start = source.index_at(arguments.start or 0.0)
    stop = len(source) if arguments.stop is None else source.index_at(arguments.stop)
    if start >= stop:
        raise InputError(
            f"--start and --stop: expected frames between {arguments.start or 0:g} s and "
            f"{arguments.stop if arguments.stop is not None else 'the end'}, found none among {len(source)}"
        )
    return source.part(start, stop).part(0, arguments.frames)


def _run_every_frame(arguments, source, output, segmenter):
    from yoso_ros.evaluation.pages.replay import html_page, markdown
    from yoso_ros.evaluation.recordings.frame_counts import FILE_NAME, write_frame_counts
    from yoso_ros.evaluation.recordings.replay import evaluate_recording
    from yoso_ros.evaluation.recordings.saved_labels import SavedLabels
    from yoso_ros.evaluation.recordings.segment_file import SegmentFile
    from yoso_ros.evaluation.report import summary_table
    from yoso_ros.images.decoding import decode_picture

    labels, label_set = _truth(arguments, source.bag, segmenter.label_set)
    output.mkdir(parents=True, exist_ok=True)
    worst = _worst_frames(arguments, segmenter.label_set, label_set)
    measures = _measures(arguments, source, label_set)
    saved = (
        SavedLabels(output, segmenter.label_set, label_set or segmenter.label_set) if arguments.save_labels else None
    )
    with SegmentFile(output / "segments.csv") as table:

        def observe(frame):
            worst.add(frame)
            table.add(frame)
            if saved is not None:
                saved.add(frame)

        report = evaluate_recording(segmenter, source, decode_picture, labels, label_set, observe, **measures)
    report = {**_facts(arguments, source, labels, segmenter.config.name, segmenter.backend), **report}
    _write(output, report, html_page(report, worst.compute()), markdown(report))
    if "panoptic_quality" in report:
        write_frame_counts(measures["frame_counts"].compute(), output)
        print(summary_table(report))
    else:
        (output / FILE_NAME).unlink(missing_ok=True)  # of an earlier run
    total = report["latency_ms"]["total"]
    print(
        f"{report['frames']['evaluated']} frames on {segmenter.backend}: p50 {total['p50']:.1f} ms, p95 "
        f"{total['p95']:.1f} ms per frame; {report['stability']['class_change_percent']:.1f} % of the pixels change "
        f"class from frame to frame"
    )


def _measures(arguments, source, label_set):
    """What is measured against the ground truth besides PQ and mIoU, as keywords of `evaluate_recording`."""
    from yoso_ros.bags.depth import DepthImages, NearestDepth, depth_topic
    from yoso_ros.evaluation.recordings.distance import EDGES_M, DistanceBands
    from yoso_ros.evaluation.recordings.frame_counts import FrameCounts
    from yoso_ros.geometry.depth import decode_depth

    if label_set is None:
        return {}
    topic = depth_topic(source.bag, arguments.depth)
    depth = None if topic is None else NearestDepth(DepthImages(source.bag, topic, decode_depth))
    bands = DistanceBands(label_set, arguments.distance_bands or EDGES_M)
    return {"depth": depth, "bands": bands, "frame_counts": FrameCounts(label_set)}


def _run_live(arguments, source, output):
    from yoso_ros.evaluation.pages.live import html_page, markdown
    from yoso_ros.images.decoding import decode_picture
    from yoso_ros.models import load_config

    config = load_config(arguments.model)
    labels, label_set = _truth(arguments, source.bag, config.label_set)
    output.mkdir(parents=True, exist_ok=True)
    worst = _worst_frames(arguments, config.label_set, label_set)
    report = evaluate_bag_live.measure(
        arguments, source, labels, label_set, config.label_set, output, worst, decode_picture
    )
    report = {**_facts(arguments, source, labels, config.name, report["backend"]), **report}
    _write(output, report, html_page(report, worst.compute()), markdown(report))
    evaluate_bag_live.print_summary(report)


def _worst_frames(arguments, model_labels, label_set):
    from yoso_ros.evaluation.recordings.worst_frames import WorstFrames
    from yoso_ros.images.overlay import build_palette, overlay_image

    palette = build_palette(label_set or model_labels)
    return WorstFrames(
        arguments.pictures, model_labels, label_set, lambda image, panoptic: overlay_image(image, panoptic, palette)
    )


def _facts(arguments, source, labels, model, backend):
    """What a run was made with, for the report."""
    from yoso_ros.evaluation.environment import environment

    weights = {"weights": "of the running node", "weights_sha256": ""}
    if not arguments.node:
        weights = _weights(arguments)
    losses = list(source.losses)
    if labels and labels.unpaired:
        losses.append(f"{labels.unpaired} ground-truth messages have no image or segments with the same stamp")
    facts = {"command": _command(arguments), "bag": str(arguments.bag), "topic": source.topic, "model": model}
    return {**facts, **weights, "backend": backend, **environment(), "losses": losses, "unchecked": source.unchecked}


def _write(output, report, page, text):
    """Write the report in its three formats and print any losses."""
    from yoso_ros.files import write_file, write_json

    write_json(output / "report.json", report)
    write_file(output / "report.md", text.encode())
    write_file(output / "report.html", page.encode())
    for line in (*report["losses"], *report.get("undecodable", ())):
        print(f"lost: {line}")
    for name in report["unchecked"]:
        print(f"not checked: {name} has no checksums, so a changed bit in it would not be noticed")


def _truth(arguments, bag, model_labels):
    """(labels, their label set), or ((), None) if there is no ground truth."""
    from yoso_ros.bags.labels import TRUTH_PREFIX, Labels, label_prefixes, label_set_of
    from yoso_ros.label_sets import load_label_set

    prefix = arguments.truth or TRUTH_PREFIX
    if arguments.no_truth or (arguments.truth is None and prefix not in label_prefixes(bag.topics)):
        return (), None
    label_set = load_label_set(arguments.label_set) if arguments.label_set else label_set_of(bag) or model_labels
    return Labels(bag, "/" + prefix.strip("/")), label_set


def _weights(arguments):
    from yoso_ros.models import load_config
    from yoso_ros.weights.find import find_weights
    from yoso_ros.weights.store import weights_digest

    config = load_config(arguments.model)
    path = Path(arguments.weights or find_weights(config))
    return {"weights": config.reference if path.is_dir() else path.name, "weights_sha256": weights_digest(path)}


def _command(arguments):
    """The command with every option spelled out, so that it stays reproducible if a default changes."""
    words, left_out = ["yoso-ros", "evaluate-bag", arguments.bag], {"bag", "command", "run"}
    if not arguments.live:
        left_out |= set(evaluate_bag_live.OPTIONS)
    for name, value in vars(arguments).items():
        if name not in left_out and value is not None and value is not False:
            values = [] if value is True else value if isinstance(value, list) else [value]
            words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return shlex.join(words)
