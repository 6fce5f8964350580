# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros evaluate-bag`: a model on every frame of a recording, with a report."""

import csv
import hashlib
import os
import shlex
from pathlib import Path

from yoso_ros.cli.segment import add_model_arguments, load_from_arguments
from yoso_ros.errors import InputError

SUMMARY = "Run a model over every frame of a recording and report accuracy, stability and times."
EXAMPLE = "yoso-ros evaluate-bag my_bag --model yoso_mobilenetv2_camvid --output out/evaluate_bag"

SEGMENT_COLUMNS = ("id", "class_id", "class_name", "is_thing", "instance_id", "score", "area")


def add_arguments(parser):
    """Declare the options."""
    parser.add_argument("bag", help="the recording: a folder, .mcap or .db3")
    parser.add_argument("--topic", help="image topic, where there are several cameras")
    parser.add_argument(
        "--truth", metavar="PREFIX", help="panoptic topics with the truth (default: /ground_truth/panoptic if there)"
    )
    parser.add_argument("--no-truth", action="store_true", help="leave the truth in the recording aside")
    parser.add_argument(
        "--label-set", help="of the truth: name or YAML file (default: the recording's, or the model's)"
    )
    parser.add_argument("--output", default="out/evaluate_bag", help="folder for the results (default: %(default)s)")
    parser.add_argument("--pictures", type=int, default=6, help="worst frames in the report (default: %(default)s)")
    add_model_arguments(parser)


def run(arguments):
    """Evaluate; writes report.html, report.json, report.md and segments.csv."""
    from yoso_ros.bags import open_source
    from yoso_ros.bags.frames import RawImage
    from yoso_ros.evaluation.environment import environment
    from yoso_ros.evaluation.replay import evaluate_recording
    from yoso_ros.evaluation.replay_page import html_page, markdown
    from yoso_ros.evaluation.report import summary_table, write_file, write_json
    from yoso_ros.evaluation.worst_frames import WorstFrames
    from yoso_ros.ros.decoding import decode_compressed, decode_image
    from yoso_ros.ros.overlay import build_palette, overlay_image

    if arguments.pictures < 0:
        raise InputError(f"--pictures: expected 0 or more, found {arguments.pictures}")
    source = open_source(arguments.bag, arguments.topic)
    if not hasattr(source, "bag"):
        raise InputError(f"{arguments.bag}: expected a recording (rosbag2 folder, .mcap, .db3); see yoso-ros bag")
    segmenter = load_from_arguments(arguments)
    labels, label_set = _truth(arguments, source.bag, segmenter.label_set)
    output = Path(arguments.output)
    output.mkdir(parents=True, exist_ok=True)
    palette = build_palette(label_set or segmenter.label_set)
    worst = WorstFrames(
        arguments.pictures,
        segmenter.label_set,
        label_set,
        lambda image, panoptic: overlay_image(image, panoptic, palette),
    )

    def decode(image):
        return decode_image(image) if isinstance(image, RawImage) else decode_compressed(image)

    with _SegmentFile(output / "segments.csv") as table:

        def observe(frame):
            worst.add(frame)
            table.add(frame)

        report = evaluate_recording(segmenter, source, decode, labels, label_set, observe)
    weights = _weights(arguments)
    report = {
        "command": _command(arguments),
        "bag": str(arguments.bag),
        "topic": source.topic,
        "model": segmenter.config.name,
        "weights": weights.name,
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "backend": segmenter.backend,
        **environment(),
        "losses": source.losses,
        **report,
    }
    if label_set is not None and labels.unpaired:
        report["losses"].append(f"{labels.unpaired} truth messages have no image or segments of the same stamp")
    write_json(output / "report.json", report)
    write_file(output / "report.md", markdown(report).encode())
    write_file(output / "report.html", html_page(report, worst.compute()).encode())
    for line in (*report["losses"], *report["undecodable"]):
        print(f"lost: {line}")
    if "panoptic_quality" in report:
        print(summary_table(report))
    total = report["latency_ms"]["total"]
    print(
        f"{report['frames']['evaluated']} frames on {segmenter.backend}: p50 {total['p50']:.1f} ms, p95 "
        f"{total['p95']:.1f} ms per frame; {report['stability']['class_change_percent']:.1f} % of the pixels change "
        f"class from frame to frame"
    )
    print(f"{output}/report.html")
    return 0


def _truth(arguments, bag, model_labels):
    """(labels, their label set), or ((), None) where there is no truth."""
    from yoso_ros.bags.labels import TRUTH_PREFIX, Labels, label_prefixes, label_set_of
    from yoso_ros.label_sets import load_label_set

    prefix = arguments.truth or TRUTH_PREFIX
    if arguments.no_truth or (arguments.truth is None and prefix not in label_prefixes(bag.topics)):
        return (), None
    label_set = load_label_set(arguments.label_set) if arguments.label_set else label_set_of(bag) or model_labels
    return Labels(bag, "/" + prefix.strip("/")), label_set


def _weights(arguments):
    from yoso_ros.checkpoint import shipped_weights
    from yoso_ros.models import load_config

    return Path(arguments.weights or shipped_weights(load_config(arguments.model)))


def _command(arguments):
    """The command with every option written out, so that it does the same when a default changes."""
    words = ["yoso-ros", "evaluate-bag", arguments.bag]
    for name, value in vars(arguments).items():
        if name not in ("bag", "command", "run") and value is not None and value is not False:
            words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return shlex.join(words)


class _SegmentFile:
    """segments.csv, one line per segment, renamed into place when the with block ends well."""

    def __init__(self, path):
        self._path, self._part = path, path.with_name(f".{path.name}.{os.getpid()}")

    def __enter__(self):
        self._file = self._part.open("w", newline="")
        self._rows = csv.writer(self._file)
        box, centroid = ("x", "y", "width", "height"), ("centroid_x", "centroid_y")
        self._rows.writerow(("stamp", "frame", *SEGMENT_COLUMNS, *box, *centroid))
        return self

    def add(self, frame):
        stamp = f"{frame.stamp_ns // 10**9}.{frame.stamp_ns % 10**9:09d}"
        for s in frame.result.segments:
            plain = (s.id, s.class_id, s.class_name, int(s.is_thing), s.instance_id, f"{s.score:.4f}", s.area)
            centroid = (f"{value:.1f}" for value in s.centroid_xy)
            self._rows.writerow((stamp, frame.index, *plain, *s.box_xywh, *centroid))

    def __exit__(self, kind, *_):
        self._file.close()
        if kind is None:
            os.replace(self._part, self._path)
        else:
            self._part.unlink()
