# SPDX-License-Identifier: Apache-2.0
"""Sections shared by the pages of a replay and of a live run: accuracy by class, worst frames, provenance."""

import base64
from collections.abc import Sequence
from html import escape
from typing import Any

from yoso_ros.evaluation.pages import plots
from yoso_ros.evaluation.pages.page import section, table

THING_COLOR, STUFF_COLOR = "#4477aa", "#99bb88"
UNLABELLED = "unlabelled"
FACTS = ("bag", "topic", "model", "weights", "weights_sha256", "backend")


def class_bars(per_class: Sequence[dict[str, Any]]) -> str:
    """PQ of each class; `per_class` as in `Scores.compute`."""
    colors = {True: THING_COLOR, False: STUFF_COLOR}
    rows = [(r["name"], 100 * r["pq"], colors[r["is_thing"]]) for r in per_class]
    return section("PQ per class", plots.bars(rows) + '<p class="pale">blue: things, green: stuff</p>')


def confusion_matrix(confusion: dict[str, list[Any]]) -> str:
    """Which classes are confused; `confusion` has "classes" and "matrix", see `evaluate_recording`."""
    names = confusion["classes"]
    drawn = plots.matrix(names, [*names, UNLABELLED], confusion["matrix"])
    note = '<p class="pale">rows: ground truth, columns: prediction; percent of the true pixels</p>'
    return section("Confusion of classes", f'<div class="wide">{drawn}</div>{note}')


def gallery(title: str, worst: Sequence[dict[str, Any]], name: str) -> str:
    """Images of frames: `worst` of `WorstFrames.compute`, `name` of its value."""
    parts = [
        f"<h3>frame {entry['index']}: {name} {entry['value']:.1f} %</h3>{picture_row(entry['pictures'])}"
        for entry in worst
    ]
    if any("errors" in entry["pictures"] for entry in worst):
        parts.append(
            '<p class="pale">errors: red for a wrong class or none, orange for the right class in an unmatched segment'
            "</p>"
        )
    return section(title, "".join(parts) or '<p class="pale">none</p>')


def picture_row(pictures: dict[str, bytes]) -> str:
    """Images side by side: dict of title to JPEG bytes."""
    shown = "".join(
        f'<figure><img alt="{escape(title)}" src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'
        f"<figcaption>{escape(title)}</figcaption></figure>"
        for title, data in pictures.items()
    )
    return f'<div class="frames">{shown}</div>'


def how_it_was_made(report: dict[str, Any], more: Sequence[tuple[str, Any]] = ()) -> str:
    """Command, model, versions and hardware of a report; `more` are rows of (name, text)."""
    unchecked = [("files without checksums", name) for name in report.get("unchecked", ())]
    rows = [*((name, report[name]) for name in FACTS), *more, *unchecked]
    rows += [*report["versions"].items(), *report["hardware"].items()]
    command = f"<p><code>{escape(report['command'])}</code></p>"
    return section("How it was made", command + table(("", ""), rows, texts=True))
