# SPDX-License-Identifier: Apache-2.0
"""An evaluation on disk: report.json for programs, per_class.md for readers."""

import math
from pathlib import Path
from typing import Any

from yoso_ros.files import write_file, write_json
from yoso_ros.tables import markdown_row

PRECISIONS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
CLASS_NUMBERS = {
    "pq": "PQ",
    "sq": "SQ",
    "rq": "RQ",
    "semantic_iou": "IoU",
    "ap": "AP",
    "semantic_output_iou": "IoU of the semantic output",
}


def write_report(report: dict[str, Any], folder: str | Path) -> None:
    """Write `report.json` and `per_class.md` of an evaluation.

    Args:
        report: dict of `evaluate_segmenter`; additional entries are also written.
        folder: pathlib.Path, created if missing. In the JSON an undefined number is null.
    """
    write_json(folder / "report.json", report)
    write_file(folder / "per_class.md", per_class_table(report))


def summary_table(report: dict[str, Any]) -> str:
    """Markdown: a table or line with the numbers of each evaluated task, in percent."""
    parts = []
    if "panoptic_quality" in report:
        lines = ["| | PQ | SQ | RQ | classes |", "|---|---:|---:|---:|---:|"]
        for name in ("All", "Things", "Stuff"):
            group = report["panoptic_quality"][name]
            lines.append(f"| {name} | {' | '.join(_number(group[key]) for key in ('PQ', 'SQ', 'RQ'))} | {group['N']} |")
        parts += ["\n".join(lines), f"mIoU {_number(report['mean_iou'])} on {report['images']} images"]
    if "average_precision" in report:
        found = report["average_precision"]
        parts.append(
            f"| {' | '.join(PRECISIONS)} | classes |\n|{'---:|' * 7}\n"
            f"| {' | '.join(_number(found[name]) for name in PRECISIONS)} | {found['N']} |"
        )
    if "semantic_mean_iou" in report:
        parts.append(f"mIoU {_number(report['semantic_mean_iou'])} of the semantic output")
    return "\n\n".join(parts)


def per_class_table(report: dict[str, Any]) -> str:
    """Markdown: the summary, then one row per class, in percent; `-` for a class that did not occur."""
    first = report["per_class"][0]
    numbers = {key: title for key, title in CLASS_NUMBERS.items() if key in first}
    counts = [key for key in ("tp", "fp", "fn") if key in first]
    titles = [*numbers.values(), *(key.upper() for key in counts)]
    lines = [summary_table(report), "", f"| class | | {' | '.join(titles)} |", f"|---|---|{'---:|' * len(titles)}"]
    for row in report["per_class"]:
        cells = [*(_number(100 * row[key]) for key in numbers), *(str(row[key]) for key in counts)]
        lines.append(markdown_row([row["name"], "thing" if row["is_thing"] else "stuff", *cells]))
    return "\n".join(lines) + "\n"


def scales_table(reports: list[dict[str, Any]]) -> str:
    """Markdown: one row per input size, with the numbers of each evaluated task in percent, and milliseconds.

    Args:
        reports: list of dict of `evaluate_segmenter`, each also with `shortest_edge` and `longest_edge`.
    """
    columns = {"shortest edge": lambda r: str(r["shortest_edge"]), "longest": lambda r: str(r["longest_edge"])}
    if "panoptic_quality" in reports[0]:
        for key in ("PQ", "SQ", "RQ"):
            columns[key] = lambda r, key=key: _number(r["panoptic_quality"]["All"][key])
        columns["mIoU"] = lambda r: _number(r["mean_iou"])
    if "average_precision" in reports[0]:
        for key in PRECISIONS:
            columns[key] = lambda r, key=key: _number(r["average_precision"][key])
    if "semantic_mean_iou" in reports[0]:
        columns["semantic mIoU"] = lambda r: _number(r["semantic_mean_iou"])
    columns["ms"] = lambda r: _number(sum(r["timings_ms"].values()))
    lines = [f"| {' | '.join(columns)} |", f"|{'---:|' * len(columns)}"]
    lines += [f"| {' | '.join(cell(report) for cell in columns.values())} |" for report in reports]
    return "\n".join(lines)


def _number(value):
    return "-" if math.isnan(value) else f"{value:.1f}"
