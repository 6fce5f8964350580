# SPDX-License-Identifier: Apache-2.0
"""The report of a live run: one HTML file that works offline, and a Markdown summary."""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from yoso_ros.evaluation.pages import plots
from yoso_ros.evaluation.pages.page import card_row, number, page, section, table
from yoso_ros.evaluation.pages.sections import class_bars, confusion_matrix, gallery, how_it_was_made
from yoso_ros.evaluation.report import per_class_table
from yoso_ros.tables import markdown_row

GROUPS = ("All", "Things", "Stuff")
MAX_COLUMNS = 60  # of the plot of answered frames
ANSWERED, UNANSWERED = "#4477aa", "#bb3c3c"
TIMES = {
    "latency_ms": "latency: publishing to the last label topic",
    "interval_ms": "interval between answers",
    "age_ms": "age of the newest answer at the time of each frame",
}
COUNTS = {
    "played": "played",
    "answered": "answered: all label topics arrived",
    "dropped": "dropped by the node in favour of a newer one",
    "failed": "failed in the node",
    "lost_in": "lost before the node",
    "lost_out": "answers lost after the node",
}


def html_page(report: dict[str, Any], worst: Sequence[dict[str, Any]] = ()) -> str:
    """The report as one HTML file, str.

    Args:
        report: dict of `yoso_ros.cli.evaluate_bag_live.measure` with "bag", "topic", "model", "weights",
            "weights_sha256", "backend", "command", "losses", and the dicts "versions" and "hardware".
        worst: list of `WorstFrames.compute`, of the answered frames.
    """
    parts = [_cards(report)]
    if report["losses"]:
        items = "".join(f"<li>{escape(line)}</li>" for line in report["losses"])
        parts.append(f'<div class="lost">Lost or skipped:<ul>{items}</ul></div>')
    if "answered" in report:
        parts += _accuracy(report)
    parts += _frames(report)
    parts += _times(report)
    if "sweep" in report:
        parts += _sweep(report["sweep"])
    if worst:
        parts.append(gallery("Worst answers", worst, "PQ"))
    parts.append(how_it_was_made(report, [("node", report["live"]["node"])]))
    return page(f"Live replay of {Path(report['bag']).name}", _subtitle(report), parts)


def markdown(report: dict[str, Any]) -> str:
    """The summary as Markdown, str; argument as for `html_page`."""
    live = report["live"]
    lines = [f"# Live replay of {report['bag']}", "", f"{_subtitle(report)}.", ""]
    lines += [f"- lost: {line}" for line in report["losses"]]
    if "answered" in report:
        head, rows = _accuracy_rows(report)
        lines += ["", _markdown_table(head, rows), "", per_class_table(report["answered"])]
        lines += [_markdown_table(("if every answer was this many frames late", "streaming PQ"), _delay_rows(report))]
    lines += ["", _markdown_table(("frames", "", "%"), _count_rows(live["frames"]))]
    lines += ["", _markdown_table(("ms", *live["latency_ms"]), _time_rows(live))]
    lines += ["", *(f"- {name}: {value}" for name, value in _cost_rows(live))]
    if "sweep" in report:
        lines += ["", f"{_sweep_text(report['sweep'])}.", "", _markdown_table(*_sweep_rows(report["sweep"]))]
    lines += ["", f"`{report['command']}`", ""]
    lines += [f"{name} {value}  " for name, value in {**report["versions"], **report["hardware"]}.items()]
    return "\n".join(lines) + "\n"


def _subtitle(report):
    live = report["live"]
    speed = f"{live['reached_hz']:.1f} Hz, {live['times_real_time']:.2f} times real time"
    return f"{report['model']} on {report['backend']}; played over DDS at {speed}"


def _cards(report):
    live = report["live"]
    cards = []
    for name in ("answered", "streaming") if "answered" in report else ():
        cards.append((f"PQ {name}", number(report[name]["panoptic_quality"]["All"]["PQ"])))
    frames, latency = live["frames"], live["latency_ms"]
    cards += [("frames answered", f"{frames['answered']} of {frames['played']}")]
    cards += [(f"latency {p}, ms", number(latency[p])) for p in ("p50", "p95", "p99")]
    cards += [("CPU, % of a core", number(live["cpu_percent"])), ("memory, MB", number(live["memory_mb"]))]
    if "sweep" in report:
        cards.append(("highest rate, Hz", f"{report['sweep']['highest_hz']:g}"))
    return card_row(cards)


def _accuracy_rows(report):
    groups = [report[name]["panoptic_quality"] for name in ("answered", "streaming")]
    rows = [(n, *(number(g[n][k]) for g in groups for k in ("PQ", "SQ", "RQ"))) for n in GROUPS]
    rows.append(
        ("mIoU", *(v for name in ("answered", "streaming") for v in (number(report[name]["mean_iou"]), "", "")))
    )
    rows.append(("frames", *(v for name in ("answered", "streaming") for v in (report[name]["images"], "", ""))))
    head = ("", "PQ of answers", "SQ", "RQ", "streaming PQ", "SQ", "RQ")
    return head, rows


def _delay_rows(report):
    return [(f"{row['delay_frames']} ({row['delay_ms']:.0f} ms)", number(row["PQ"])) for row in report["by_delay"]]


def _accuracy(report):
    note = (
        '<p class="pale">answers: each against the ground truth of its own frame. streaming: the newest answer '
        "available at the time of each frame with ground truth, unlabelled before the first one</p>"
    )
    yield section("Accuracy", table(*_accuracy_rows(report)) + note)
    yield class_bars(report["answered"]["per_class"])
    pairs = zip(*(report[name]["per_class"] for name in ("answered", "streaming")), strict=True)
    rows = []
    for own, late in pairs:
        values = (own["pq"], late["pq"], own["semantic_iou"], late["semantic_iou"])
        rows.append((own["name"], *(number(100 * v) for v in values), own["tp"], own["fp"], own["fn"]))
    yield section("", table(("class", "PQ", "streaming PQ", "IoU", "streaming IoU", "TP", "FP", "FN"), rows))
    yield confusion_matrix(report["answered"]["confusion"])
    points = [(row["delay_ms"], row["PQ"]) for row in report["by_delay"] if not math.isnan(row["PQ"])]
    note = '<p class="pale">streaming PQ if the answer to every answered frame had been 0, 1, 2 or 4 frames late</p>'
    yield section("Accuracy by latency", (plots.curve(points, "ms", "PQ") if points else "") + note)
    for name, title in (("PQ", "PQ of the answers over the recording"), ("streaming_PQ", "Streaming PQ")):
        values = [row[name] for row in report["per_frame"]]
        yield section(title, plots.timeline(values, "PQ", np.nanmin))


def _count_rows(frames):
    return [(text, frames[name], number(100 * frames[name] / frames["played"])) for name, text in COUNTS.items()]


def _frames(report):
    yield section("Frames", table(("", "frames", "%"), _count_rows(report["live"]["frames"])))
    moments = np.array([row["published_s"] for row in report["per_frame"]])
    answered = np.isfinite([row["latency_ms"] for row in report["per_frame"]])
    bins = min(MAX_COLUMNS, len(moments))
    span = (0, max(float(moments[-1]), 1e-9))
    counts = [np.histogram(moments[which], bins, span)[0].tolist() for which in (answered, ~answered)]
    drawn = plots.columns(list(zip(counts, (ANSWERED, UNANSWERED), strict=True)), "0 s", f"{span[1]:.1f} s")
    note = '<p class="pale">blue: answered, red: not answered; by the time of publishing</p>'
    yield section("Answered frames over time", drawn + note)


def _time_rows(live):
    return [(text, *(number(v) for v in live[name].values())) for name, text in TIMES.items()]


def _cost_rows(live):
    rows = [("jitter: standard deviation of the interval, ms", number(live["jitter_ms"]))]
    rows += [("CPU of the node, % of one core", number(live["cpu_percent"]))]
    rows += [("CPU of the node per processed frame, ms", number(live["cpu_ms"]))]
    rows += [("memory of the node, MB", number(live["memory_mb"])), ("its peak, MB", number(live["peak_mb"]))]
    return rows


def _times(report):
    live = report["live"]
    yield section("Times, ms", table(("", *live["latency_ms"]), _time_rows(live)))
    yield section("", table(("", ""), _cost_rows(live)))
    latencies = [row["latency_ms"] for row in report["per_frame"]]
    known = [value for value in latencies if math.isfinite(value)]
    if known:
        yield section("Distribution of the latency", plots.histogram(known, "ms"))
        yield section("Latency over the recording", plots.timeline(latencies, "ms"))
    if live["stages_ms"]:
        names = {"in": "to the node", "out": "back", "outside": "whole"}
        rows = [(names.get(name, name), number(ms)) for name, ms in live["stages_ms"].items()]
        note = f'<p class="pale">{live["unsound"]} frames do not add up to within 1 ms</p>'
        yield section("Where the time goes, means in ms", table(("", "ms"), rows) + note)


def _sweep_text(sweep):
    looked = f"{sweep['low_hz']:g} to {sweep['high_hz']:g} Hz in steps of {sweep['step_hz']:g} Hz"
    return f"Highest rate with at most 5 % loss: {sweep['highest_hz']:g} Hz, searched {looked}"


def _sweep_rows(sweep):
    head = ("asked, Hz", "reached, Hz", "loss, %", "latency p50, ms", "p95, ms")
    names = ("rate_hz", "reached_hz", "loss_percent", "latency_p50_ms", "latency_p95_ms")
    return head, [tuple(number(run[name]) for name in names) for run in sweep["runs"]]


def _sweep(sweep):
    points = [(run["reached_hz"], run["loss_percent"]) for run in sweep["runs"]]
    drawn = plots.curve(points, "Hz", "% lost", line=5.0, joined=False)
    text = f"<p>{_sweep_text(sweep)}; runs of {sweep['seconds']:g} s, in chronological order:</p>"
    yield section("Highest rate", text + drawn + table(*_sweep_rows(sweep)))


def _markdown_table(head, rows):
    lines = [markdown_row(head), f"|---|{'---:|' * (len(head) - 1)}"]
    return "\n".join([*lines, *map(markdown_row, rows)])
