# SPDX-License-Identifier: Apache-2.0
"""The report of a comparison of two runs: one HTML file that works offline, and a Markdown summary."""

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from yoso_ros.evaluation.pages.difference_plot import difference_bars, is_clear, signed
from yoso_ros.evaluation.pages.page import card_row, number, page, section, table
from yoso_ros.evaluation.pages.sections import picture_row
from yoso_ros.stamps import stamp_text
from yoso_ros.tables import markdown_row

FRAMES = 20  # in the table of frames that differ most
SIZE = ("shortest_edge", "longest_edge")
FACTS = ("folder", "bag", "data", "split", "model", "weights", *SIZE, "backend", "accuracy", "command")
NOTE = (
    "Differences are B minus A. Intervals are 95 % of a paired bootstrap over frames; bars are grey if the interval "
    "includes zero. Neighbouring frames of a recording look alike, so its intervals tend to be too narrow."
)


def html_page(comparison: dict[str, Any], pictures: Sequence[tuple[str, Any]] = ()) -> str:
    """The comparison as one HTML file, str.

    Args:
        comparison: dict of `compare_runs` with "command" and "a" and "b", each a dict with "folder", its report's
            "model", "weights", "backend", "bag" or "data", "command" and "latency_ms", and "accuracy": what the answers
            were compared with.
        pictures: list of (name of the frame, dict of title to JPEG bytes).
    """
    pq, frames = comparison["measures"]["PQ"], comparison["frames"]
    low, high = pq["interval"]
    cards = [("PQ of A", number(pq["a"])), ("PQ of B", number(pq["b"])), ("difference", _signed(pq["difference"]))]
    cards += [("95 % interval", f"{_signed(low)} to {_signed(high)}")]
    cards += [("B better in resamples", _percent(pq["b_wins"])), ("frames", str(frames["common"]))]
    parts = [card_row(cards), f"<p>{escape(verdict(comparison))}</p>"]
    parts.append(section("Runs", table(("", "A", "B"), _runs(comparison), texts=True)))
    parts.append(section("Measures", table(MEASURE_HEAD, measure_rows(comparison))))
    for key, name in (("pq", "PQ"), ("iou", "IoU")):
        rows = [(r["name"], r[f"{key}_difference"], r[f"{key}_interval"]) for r in comparison["per_class"]]
        note = f'<p class="pale">{escape(NOTE)}</p>' if key == "pq" else ""
        parts.append(section(f"Difference in {name} per class", difference_bars(rows) + note))
    parts.append(section("Classes", table(_CLASS_HEAD, _classes(comparison))))
    parts.append(section("Frames that differ most", table(("frame", "PQ A", "PQ B", "B - A"), _frames(comparison))))
    for name, images in pictures:
        parts.append(f"<h3>{escape(name)}</h3>{picture_row(images)}")
    parts.append(section("How it was made", f"<p><code>{escape(comparison['command'])}</code></p>"))
    return page("Comparison of two runs", f"A: {comparison['a']['folder']}; B: {comparison['b']['folder']}", parts)


def markdown(comparison: dict[str, Any]) -> str:
    """The summary as Markdown, str; argument as for `html_page`."""
    lines = ["# Comparison of two runs", "", verdict(comparison), ""]
    lines += _rows(("", "A", "B"), _runs(comparison))
    lines += ["", *_rows(MEASURE_HEAD, measure_rows(comparison))]
    lines += ["", *_rows(_CLASS_HEAD, _classes(comparison))]
    lines += ["", *_rows(("frame", "PQ A", "PQ B", "B - A"), _frames(comparison))]
    return "\n".join([*lines, "", NOTE, "", f"`{comparison['command']}`"]) + "\n"


def verdict(comparison: dict[str, Any]) -> str:
    """The outcome in one sentence."""
    pq, frames = comparison["measures"]["PQ"], comparison["frames"]["common"]
    low, high = pq["interval"]
    if math.isnan(pq["difference"]):
        return f"There is no PQ to compare on {frames} frames."
    better = "B" if pq["difference"] > 0 else "A"
    size = f"{abs(pq['difference']):.2f} PQ, 95 % interval of B - A {signed(low)} to {signed(high)}, {frames} frames"
    if is_clear((low, high)):
        return f"{better} is better by {size}."
    return f"No significant difference: {size}."


MEASURE_HEAD = ("", "A", "B", "B - A", "95 % interval", "A better", "B better")
_CLASS_HEAD = ("class", "PQ A", "PQ B", "B - A", "95 % interval", "IoU A", "IoU B", "B - A", "95 % interval")


def measure_rows(comparison: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Rows of a table with `MEASURE_HEAD`; a dict with the "measures" of `compare_runs` is enough."""
    for name, m in comparison["measures"].items():
        values = number(m["a"]), number(m["b"]), _signed(m["difference"]), _interval(m["interval"])
        yield name, *values, _percent(m["a_wins"]), _percent(m["b_wins"])


def _classes(comparison):
    for row in comparison["per_class"]:
        yield (
            row["name"],
            *(
                value
                for key in ("pq", "iou")
                for value in (
                    number(row[f"{key}_a"]),
                    number(row[f"{key}_b"]),
                    _signed(row[f"{key}_difference"]),
                    _interval(row[f"{key}_interval"]),
                )
            ),
        )


def _frames(comparison):
    for row in (row for row in comparison["per_frame"][:FRAMES] if row["difference"]):
        yield frame_name(row["name"]), number(row["PQ_a"]), number(row["PQ_b"]), _signed(row["difference"])


def _runs(comparison):
    runs = comparison["a"], comparison["b"]
    for name in FACTS:
        if any(run.get(name) for run in runs):
            yield name, *(run.get(name) or "-" for run in runs)
    totals = [(run.get("latency_ms") or {}).get("total") for run in runs]
    if all(totals):
        for key in ("p50", "p95"):
            yield f"ms per frame, {key}", *(number(total[key]) for total in totals)
    for key, name in (("only_a", "frames only in A"), ("only_b", "frames only in B")):
        if comparison["frames"][key]:
            yield name, *((comparison["frames"][key], "") if key == "only_a" else ("", comparison["frames"][key]))


def frame_name(name: str) -> str:
    """The display name of a frame: a stamp in nanoseconds becomes seconds, a file keeps its name."""
    return f"{stamp_text(int(name))} s" if name.isdecimal() else name


def _rows(head, rows):
    lines = [markdown_row(row) for row in (head, *rows)]
    return [lines[0], f"|---|{'---:|' * (len(head) - 1)}", *lines[1:]]


def _signed(value):
    return "-" if math.isnan(value) else signed(value)


def _interval(interval):
    return "-" if math.isnan(interval[0]) else f"{_signed(interval[0])} to {_signed(interval[1])}"


def _percent(share):
    return "-" if math.isnan(share) else f"{100 * share:.1f} %"
