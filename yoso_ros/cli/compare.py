# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros compare`: two runs of evaluate or evaluate-bag on the same frames, tested for significance."""

import json
import shlex
from pathlib import Path

from yoso_ros.errors import InputError

SUMMARY = "Compare two runs of evaluate or evaluate-bag on the same frames: differences and their significance."
EXAMPLE = "yoso-ros compare out/small_model out/large_model --output out/compare"

# "topic" is needed for the images; the rest is shown.
RUN_FACTS = ("topic", "latency_ms", "bag", "data", "split", "model", "weights", "backend", "command")
RUN_FACTS += ("shortest_edge", "longest_edge")


def add_arguments(parser):
    """Declare the options."""
    parser.add_argument("run_a", metavar="RUN_A", help="folder written by evaluate or evaluate-bag")
    parser.add_argument("run_b", metavar="RUN_B", help="folder of the other run")
    parser.add_argument("--output", default="out/compare", help="folder for the results (default: %(default)s)")
    parser.add_argument("--resamples", type=int, default=1000, help="bootstrap resamples (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same intervals (default: 0)")
    parser.add_argument("--pictures", type=int, default=6, help="number of frames shown (default: %(default)s)")


def run(arguments):
    """Compare; writes comparison.html, comparison.json and comparison.md."""
    from tqdm import tqdm

    from yoso_ros.evaluation.pages.comparison import html_page, markdown, verdict
    from yoso_ros.evaluation.recordings.comparison import compare_runs
    from yoso_ros.evaluation.recordings.frame_counts import read_frame_counts
    from yoso_ros.files import write_file, write_json

    for name, least in (("resamples", 1), ("seed", 0), ("pictures", 0)):
        if getattr(arguments, name) < least:
            raise InputError(f"--{name}: expected {least} or more, found {getattr(arguments, name)}")
    folders = Path(arguments.run_a), Path(arguments.run_b)
    reports = [_report(folder) for folder in folders]
    counts = [read_frame_counts(folder) for folder in folders]
    result = compare_runs(
        *counts,
        arguments.resamples,
        arguments.seed,
        lambda blocks: tqdm(blocks, "bootstrap", unit="block", delay=2),
    )
    options = [f"--{name}={getattr(arguments, name)}" for name in ("output", "resamples", "seed", "pictures")]
    comparison = {
        "command": shlex.join(["yoso-ros", "compare", arguments.run_a, arguments.run_b, *options]),
        **{
            side: {"folder": str(folder), **_facts(report)}
            for side, folder, report in zip("ab", folders, reports, strict=True)
        },
        **result,
    }
    pictures = comparison_pictures(comparison, folders, arguments.pictures)
    output = Path(arguments.output)
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "comparison.json", comparison)
    write_file(output / "comparison.md", markdown(comparison).encode())
    write_file(output / "comparison.html", html_page(comparison, pictures).encode())
    print(verdict(comparison))
    print(f"{output}/comparison.html")
    return 0


def _facts(report):
    facts = {name: report[name] for name in RUN_FACTS if name in report}
    if "live" not in report:
        return facts | {"accuracy": "each answer on its own frame"}
    return facts | {
        "accuracy": "streaming: newest answer at each frame",
        "latency_ms": {"total": report["live"]["latency_ms"]},
    }


def _report(folder):
    path = folder / "report.json"
    if not path.is_file():
        raise InputError(f"expected a folder of evaluate or evaluate-bag with a report.json, found none at {path}")
    try:
        report = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path}: expected the report of evaluate or evaluate-bag: {error}") from error
    if not isinstance(report, dict):
        raise InputError(f"{path}: expected the report of evaluate or evaluate-bag, found a {type(report).__name__}")
    return report


def comparison_pictures(comparison, folders, count):
    """The frames that differ most, each with its ground truth and, if saved, the labels of both runs: list of
    (title, dict of JPEG); empty if the recording has been moved."""
    from yoso_ros.bags import open_source
    from yoso_ros.bags.frames import RawImage
    from yoso_ros.bags.labels import TRUTH_PREFIX, Labels, label_prefixes, label_set_of
    from yoso_ros.evaluation.pages.comparison import frame_name
    from yoso_ros.evaluation.recordings.saved_labels import read_labels
    from yoso_ros.evaluation.recordings.worst_frames import jpeg
    from yoso_ros.images.decoding import decode_compressed, decode_image
    from yoso_ros.images.overlay import build_palette, overlay_image

    facts = comparison["a"]
    chosen = [row for row in comparison["per_frame"][:count] if row["difference"]]
    if not chosen or "bag" not in facts or not Path(facts["bag"]).exists():
        return []
    source = open_source(facts["bag"], facts.get("topic"))
    label_set, truth = label_set_of(source.bag), {}
    wanted = {int(row["name"]) for row in chosen}
    if label_set is None:
        return []
    if TRUTH_PREFIX in label_prefixes(source.bag.topics):
        truth = {f.stamp_ns: f.panoptic for f in Labels(source.bag, TRUTH_PREFIX) if f.stamp_ns in wanted}
    palette, found = build_palette(label_set), {}
    for frame in source:
        if frame.stamp_ns in wanted:
            image = decode_image(frame.image) if isinstance(frame.image, RawImage) else decode_compressed(frame.image)
            maps = {"truth": truth.get(frame.stamp_ns)}
            maps |= {s: read_labels(folder, frame.stamp_ns) for s, folder in zip("AB", folders, strict=True)}
            drawn = {name: overlay_image(image, m, palette) for name, m in maps.items() if m is not None}
            found[frame.stamp_ns] = {title: jpeg(p) for title, p in {"frame": image, **drawn}.items()}
    return [
        (f"{frame_name(row['name'])}: PQ {row['PQ_a']:.1f} and {row['PQ_b']:.1f}", found[int(row["name"])])
        for row in chosen
        if int(row["name"]) in found
    ]
