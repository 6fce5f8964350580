# SPDX-License-Identifier: Apache-2.0
"""The report of a replay: one HTML file that works offline, and a Markdown summary."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from yoso_ros.evaluation.pages import plots
from yoso_ros.evaluation.pages.page import card_row, number, page, section, table
from yoso_ros.evaluation.pages.sections import class_bars, confusion_matrix, gallery, how_it_was_made
from yoso_ros.evaluation.pages.tracking_and_distance import extra_tables
from yoso_ros.evaluation.report import per_class_table
from yoso_ros.tables import markdown_row

STABILITY_NAMES = {
    "class_change_percent": "pixels whose class differs from the previous frame, % (includes motion)",
    "flicker_percent": "pixels that change class where the image is unchanged, %",
    "flicker_true_percent": "pixels that change class where the true class is unchanged, %",
    "unlabelled_percent": "unlabelled pixels, %",
    "confidence_percent": "mean confidence, %",
    "segments_per_frame": "segments per frame",
    "segments_change_per_frame": "change in the number of segments per frame",
    "tracks_kept_percent": "tracked things that keep their id from the previous frame, %",
}


def html_page(report: dict[str, Any], worst: Sequence[dict[str, Any]]) -> str:
    """The report as one HTML file, str.

    Args:
        report: dict of `evaluate_recording` with "bag", "topic", "model", "weights", "weights_sha256", "backend",
            "command", "losses", and the dicts "versions" and "hardware".
        worst: list of `WorstFrames.compute`.
    """
    has_truth = "panoptic_quality" in report
    parts = [_cards(report)]
    problems = [*report["losses"], *report["undecodable"]]
    if problems:
        items = "".join(f"<li>{escape(line)}</li>" for line in problems)
        parts.append(f'<div class="lost">Lost or skipped:<ul>{items}</ul></div>')
    if has_truth:
        parts += _accuracy(report)
    parts += [section(title, table(head, rows)) for title, head, rows in extra_tables(report)]
    parts += _times(report)
    parts.append(section("Stability", table(("", "mean"), _stability_rows(report))))
    parts.append(section("Segments found", table(*_segment_rows(report))))
    title, value = ("Worst frames", "PQ") if has_truth else ("Frames with the lowest confidence", "confidence")
    parts += [gallery(title, worst, value), how_it_was_made(report)]
    subtitle = f"{report['model']} on {report['backend']}; every frame in order, none dropped"
    title = f"Replay of {Path(report['bag']).name}"
    return page(title, subtitle, parts)


def markdown(report: dict[str, Any]) -> str:
    """The summary as Markdown, str; argument as for `html_page`."""
    frames, total = report["frames"], report["latency_ms"]["total"]
    lines = [
        f"# Replay of {report['bag']}",
        "",
        f"{report['model']} ({report['weights']}) on {report['backend']}: {frames['evaluated']} frames evaluated, "
        f"{frames['undecodable']} could not be decoded, {frames['with_truth']} with ground truth.",
        "",
        *(f"- lost: {line}" for line in report["losses"]),
    ]
    if "panoptic_quality" in report:
        lines += ["", per_class_table(report)]
    lines += ["", f"| ms per frame | {' | '.join(total)} |", f"|---|{'---:|' * len(total)}"]
    lines += [f"| {name} | {' | '.join(number(v) for v in s.values())} |" for name, s in report["latency_ms"].items()]
    lines += ["", "| stability | mean |", "|---|---:|"]
    lines += [f"| {name} | {value} |" for name, value in _stability_rows(report)]
    for _, head, rows in extra_tables(report):
        lines += ["", markdown_row(head), f"|---|{'---:|' * (len(head) - 1)}"]
        lines += map(markdown_row, rows)
    lines += ["", f"`{report['command']}`", ""]
    lines += [f"{name} {value}  " for name, value in {**report["versions"], **report["hardware"]}.items()]
    return "\n".join(lines) + "\n"


def _cards(report):
    total, frames = report["latency_ms"]["total"], report["frames"]
    cards = []
    if "panoptic_quality" in report:
        groups = report["panoptic_quality"]
        cards += [
            (f"PQ {'' if n == 'All' else n.lower()}", number(groups[n]["PQ"])) for n in ("All", "Things", "Stuff")
        ]
        cards.append(("mIoU", number(report["mean_iou"])))
    cards += [("frames", str(frames["evaluated"])), ("ms per frame, p50", number(total["p50"]))]
    cards += [("ms per frame, p95", number(total["p95"])), ("frames/s", number(1e3 / total["mean"]))]
    return card_row(cards)


def _accuracy(report):
    groups = report["panoptic_quality"]
    rows = [
        (n, *(number(groups[n][k]) for k in ("PQ", "SQ", "RQ")), groups[n]["N"]) for n in ("All", "Things", "Stuff")
    ]
    yield section("Accuracy", table(("", "PQ", "SQ", "RQ", "classes"), rows))
    yield class_bars(report["per_class"])
    rows = [
        (r["name"], *(number(100 * r[k]) for k in ("pq", "sq", "rq", "semantic_iou")), r["tp"], r["fp"], r["fn"])
        for r in report["per_class"]
    ]
    yield section("", table(("class", "PQ", "SQ", "RQ", "IoU", "TP", "FP", "FN"), rows))
    yield confusion_matrix(report["confusion"])
    values = [row["PQ"] for row in report["per_frame"]]
    yield section("PQ over the recording", plots.timeline(values, "PQ", np.nanmin))


def _times(report):
    rows = [(name, *(number(v) for v in stage.values())) for name, stage in report["latency_ms"].items()]
    yield section("Time per frame, ms", table(("stage", *report["latency_ms"]["total"]), rows))
    values = [row["latency_ms"] for row in report["per_frame"]]
    yield section("Distribution of the time", plots.histogram(values, "ms"))
    yield section("Time over the recording", plots.timeline(values, "ms"))


def _stability_rows(report):
    return [(text, number(report["stability"][name])) for name, text in STABILITY_NAMES.items()]


def _segment_rows(report):
    head = ("class", "kind", "frames", "segments", "per frame", "area, %", "score")
    rows = [
        (
            r["name"],
            "thing" if r["is_thing"] else "stuff",
            r["frames"],
            r["segments"],
            f"{r['per_frame']:.2f}",
            f"{r['area_percent']:.2f}",
            f"{r['score']:.2f}",
        )
        for r in report["segments"]
    ]
    return head, rows
