# SPDX-License-Identifier: Apache-2.0
"""The report on many recordings: one HTML file with a row for each, and the same as Markdown."""

from html import escape
from typing import Any

from yoso_ros.evaluation.pages.page import card_row, number, page, section, table
from yoso_ros.evaluation.pages.sections import class_bars
from yoso_ros.tables import markdown_row

COLUMNS = {
    "frames": "frames",
    "PQ": "PQ",
    "PQ_things": "PQ things",
    "PQ_stuff": "PQ stuff",
    "mIoU": "mIoU",
    "flicker_percent": "flicker %",
    "unlabelled_percent": "unlabelled %",
    "confidence_percent": "confidence %",
    "p50_ms": "p50 ms",
    "p95_ms": "p95 ms",
}


def html_page(report: dict[str, Any]) -> str:
    """The page: str. `report`: dict of `join_reports` with "model", "backend", "command" and "faults"."""
    measures = report.get("measures", {})
    cards = [("recordings", len(report["recordings"])), ("frames", report["frames"])]
    cards += [(name, number(measures[name])) for name in ("PQ", "mIoU") if name in measures]
    parts = [card_row(cards)]
    if report["faults"]:
        items = "".join(f"<li>{escape(line)}</li>" for line in report["faults"])
        parts.append(f'<div class="lost">Skipped:<ul>{items}</ul></div>')
    rows = "".join(
        f'<tr><td><a href="{escape(r["name"])}/report.html">{escape(r["name"])}</a></td>{_cells(r)}</tr>'
        for r in report["recordings"]
    )
    head = "".join(f"<th>{escape(title)}</th>" for title in ("recording", *COLUMNS.values()))
    parts.append(section("Recordings", f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>'))
    if measures:
        both = [{**row, "pq": row["pq"] / 100} for row in report["per_class"]]
        parts.append(class_bars(both))
        title = f"All {report['frames_with_truth']} frames with ground truth together"
        parts.append(section(title, table(("", "%"), [(k, number(v)) for k, v in measures.items()])))
    parts.append(section("How it was made", f"<p><code>{escape(report['command'])}</code></p>"))
    return page("Replay of many recordings", f"{report['model']} on {report['backend']}", parts)


def markdown(report: dict[str, Any]) -> str:
    """The same as Markdown: str."""
    lines = ["# Replay of many recordings", "", f"`{report['command']}`", ""]
    lines += [f"left out: {line}" for line in report["faults"]]
    lines += [f"| recording | {' | '.join(COLUMNS.values())} |", f"|---|{'---:|' * len(COLUMNS)}"]
    lines += [markdown_row([r["name"], *(_text(r[key]) for key in COLUMNS)]) for r in report["recordings"]]
    if "measures" in report:
        found = ", ".join(f"{name} {number(value)}" for name, value in report["measures"].items())
        lines += ["", f"All {report['frames_with_truth']} frames with ground truth together: {found}"]
    return "\n".join(lines) + "\n"


def _cells(row):
    return "".join(f"<td>{_text(row[key])}</td>" for key in COLUMNS)


def _text(value):
    return str(value) if isinstance(value, int) else number(value)
