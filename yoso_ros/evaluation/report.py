# SPDX-License-Identifier: Apache-2.0
"""An evaluation on disk: report.json for programs, per_class.md for people."""

import json
import math
import os


def write_report(report, folder):
    """Write `report.json` and `per_class.md` of an evaluation.

    Args:
        report: dict of `evaluate_segmenter`; further entries are written too.
        folder: pathlib.Path, made if missing. In the JSON a number that does not exist is null.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "report.json", report)
    write_file(folder / "per_class.md", per_class_table(report).encode())


def write_json(path, content):
    """Write plain values as JSON; a number that does not exist (NaN) is null."""
    write_file(path, json.dumps(_without_nan(content), indent=1).encode())


def write_file(path, content):
    """Write bytes under a temporary name and rename, so that no reader sees half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def summary_table(report):
    """Markdown table of All, Things and Stuff with PQ, SQ, RQ, and a line with mIoU; percent."""
    lines = ["| | PQ | SQ | RQ | classes |", "|---|---:|---:|---:|---:|"]
    for name in ("All", "Things", "Stuff"):
        group = report["panoptic_quality"][name]
        lines.append(f"| {name} | {' | '.join(_number(group[key]) for key in ('PQ', 'SQ', 'RQ'))} | {group['N']} |")
    return "\n".join([*lines, "", f"mIoU {_number(report['mean_iou'])} on {report['images']} images"])


def per_class_table(report):
    """Markdown: the summary, then one row per class; percent, `-` for a class that was not seen."""
    lines = [summary_table(report), "", "| class | | PQ | SQ | RQ | IoU | TP | FP | FN |", f"|---|---|{'---:|' * 7}"]
    for row in report["per_class"]:
        numbers = [_number(100 * row[key]) for key in ("pq", "sq", "rq", "semantic_iou")]
        counts = [str(row[key]) for key in ("tp", "fp", "fn")]
        lines.append(f"| {' | '.join([row['name'], 'thing' if row['is_thing'] else 'stuff', *numbers, *counts])} |")
    return "\n".join(lines) + "\n"


def _number(value):
    return "-" if math.isnan(value) else f"{value:.1f}"


def _without_nan(value):
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
