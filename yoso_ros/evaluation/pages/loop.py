# SPDX-License-Identifier: Apache-2.0
"""The page of `yoso-ros loop-demo`: what the loop has gained, and each of its steps with its commands."""

from collections.abc import Sequence
from html import escape
from typing import Any

from yoso_ros.evaluation.pages.comparison import MEASURE_HEAD, measure_rows
from yoso_ros.evaluation.pages.difference_plot import signed
from yoso_ros.evaluation.pages.page import card_row, number, page, section, table
from yoso_ros.evaluation.pages.sections import picture_row

WORLDS = {"new": "the new world, the recording of Wednesday", "old": "the world that the model knew before"}
LINKS = {
    "frames that were chosen, and why": "select_train/contact_sheet.html",
    "before": "before/report.html",
    "after": "after/report.html",
    "the comparison": "compare/comparison.html",
    "the comparison in the old world": "compare_yard/comparison.html",
}


def html_page(loop: dict[str, Any], pictures: Sequence[tuple[str, Any]] = ()) -> str:
    """The page: str.

    Args:
        loop: dict of "steps": list of dict with title, why, commands, seconds and processor_s; "corrected": dict of
            split to frames and pixels_changed (0..1); "history": validations of the training; "new" and "old": verdict
            and measures of `compare_runs`.
        pictures: list of (name of the frame, dict of title to JPEG bytes), A before and B after.
    """
    pq = loop["new"]["measures"]["PQ"]
    low, high = pq["interval"]
    minutes = sum(step["seconds"] for step in loop["steps"]) / 60
    processor = sum(step["processor_s"] for step in loop["steps"]) / 60
    cards = [("PQ before", number(pq["a"])), ("PQ after", number(pq["b"]))]
    cards += [("95 % interval of the gain", f"{signed(low)} to {signed(high)}")]
    cards += [("labelled frames", loop["corrected"]["train"]["frames"])]
    cards += [("minutes", number(minutes)), ("of processor time", number(processor))]
    links = ", ".join(f'<a href="{target}">{escape(name)}</a>' for name, target in LINKS.items())
    parts = [card_row(cards), f"<p>{links}</p>"]
    for world, name in WORLDS.items():
        parts.append(
            section(
                f"In {name}",
                f"<p>A is before, B after. {escape(loop[world]['verdict'])}</p>"
                + table(MEASURE_HEAD, measure_rows(loop[world])),
            )
        )
    for name, images in pictures:
        parts.append(f"<h3>{escape(name)}</h3>{picture_row(images)}")
    parts.append(section("Validation while it trained", table(("iteration", "PQ"), _curve(loop["history"]))))
    parts.append(section("Steps", "".join(_step(i, step) for i, step in enumerate(loop["steps"], start=1))))
    return page("From a recording to a better model", "rendered scenes stand for the robot's world", parts)


def _curve(history):
    return [(row["iteration"], number(row["PQ"])) for row in history]


def _step(index, step):
    lines = "".join(f"<li><code>{escape(line)}</code></li>" for line in step["commands"])
    times = f"{step['seconds']:.0f} s, {step['processor_s']:.0f} s of processor time"
    why = f'<p>{escape(step["why"])} <span class="pale">{times}</span></p>'
    return f"<h3>{index}. {escape(step['title'])}</h3>{why}<ul>{lines}</ul>"
