# SPDX-License-Identifier: Apache-2.0
"""The report of a replay: one HTML file that needs no network, and a Markdown summary."""

import base64
import math
from html import escape
from pathlib import Path
from string import Template

import numpy as np

from yoso_ros.evaluation import plots
from yoso_ros.evaluation.report import per_class_table

UNLABELLED = "unlabelled"
STABILITY_NAMES = {
    "class_change_percent": "pixels of another class than in the frame before, % (motion included)",
    "unlabelled_percent": "unlabelled pixels, %",
    "confidence_percent": "mean confidence, %",
    "segments_per_frame": "segments per frame",
    "segments_change_per_frame": "change in the number of segments per frame",
}
PAGE = Template("""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>$title</title><style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fcfcfa; max-width: 1080px; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; } td, th { padding: .15rem .7rem; text-align: right; }
td:first-child, th:first-child { text-align: left; } th { border-bottom: 1px solid #999; font-weight: 600; }
tr:nth-child(even) td { background: #f1f1ec; }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1rem 0; }
.card { background: #fff; border: 1px solid #ddd; border-radius: 6px; padding: .5rem 1rem; }
.card b { display: block; font-size: 1.5rem; } .lost { background: #fff2d8; border-left: 4px solid #d90;
  padding: .5rem 1rem; } code { background: #efefea; padding: .1rem .3rem; overflow-wrap: anywhere; }
svg { max-width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: #222; }
svg .pale, .pale { fill: #888; color: #888; } .wide { overflow-x: auto; }
.frames { display: grid; grid-template-columns: repeat(auto-fit, minmax(230px, 1fr)); gap: .4rem; }
figure { margin: 0; } figure img { width: 100%; display: block; } figcaption { color: #666; font-size: .85rem; }
</style></head><body>
<h1>$title</h1><p class="pale">$subtitle</p>
$body
</body></html>
""")


def html_page(report, worst):
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
        parts.append(f'<div class="lost">Lost or left out:<ul>{items}</ul></div>')
    if has_truth:
        parts += _accuracy(report)
    parts += _times(report)
    parts.append(_section("Stability", _table(("", "mean"), _stability_rows(report))))
    parts.append(_section("Segments found", _table(*_segment_rows(report))))
    parts.append(
        _section(
            "Worst frames" if has_truth else "Frames with the least confidence",
            _gallery(worst, "PQ" if has_truth else "confidence"),
        )
    )
    facts = {k: report[k] for k in ("bag", "topic", "model", "weights", "weights_sha256", "backend")}
    run = _table(("", ""), [*facts.items(), *report["versions"].items(), *report["hardware"].items()])
    parts.append(_section("How it was made", f"<p><code>{escape(report['command'])}</code></p>{run}"))
    subtitle = f"{report['model']} on {report['backend']}; every frame in order, none dropped"
    title = f"Replay of {Path(report['bag']).name}"
    return PAGE.substitute(title=escape(title), subtitle=escape(subtitle), body="\n".join(parts))


def markdown(report):
    """The summary as Markdown, str; argument as for `html_page`."""
    frames, total = report["frames"], report["latency_ms"]["total"]
    lines = [
        f"# Replay of {report['bag']}",
        "",
        f"{report['model']} ({report['weights']}) on {report['backend']}: {frames['evaluated']} frames evaluated, "
        f"{frames['undecodable']} not decodable, {frames['with_truth']} with truth.",
        "",
        *(f"- lost: {line}" for line in report["losses"]),
    ]
    if "panoptic_quality" in report:
        lines += ["", per_class_table(report)]
    lines += ["", f"| ms per frame | {' | '.join(total)} |", f"|---|{'---:|' * len(total)}"]
    lines += [f"| {name} | {' | '.join(_number(v) for v in s.values())} |" for name, s in report["latency_ms"].items()]
    lines += ["", "| stability | mean |", "|---|---:|"]
    lines += [f"| {name} | {value} |" for name, value in _stability_rows(report)]
    lines += ["", f"`{report['command']}`", ""]
    lines += [f"{name} {value}  " for name, value in {**report["versions"], **report["hardware"]}.items()]
    return "\n".join(lines) + "\n"


def _cards(report):
    total, frames = report["latency_ms"]["total"], report["frames"]
    cards = []
    if "panoptic_quality" in report:
        groups = report["panoptic_quality"]
        cards += [
            (f"PQ {'' if n == 'All' else n.lower()}", _number(groups[n]["PQ"])) for n in ("All", "Things", "Stuff")
        ]
        cards.append(("mIoU", _number(report["mean_iou"])))
    cards += [("frames", str(frames["evaluated"])), ("ms per frame, p50", _number(total["p50"]))]
    cards += [("ms per frame, p95", _number(total["p95"])), ("frames/s", _number(1e3 / total["mean"]))]
    return f'<div class="cards">{"".join(f"""<div class="card">{n}<b>{v}</b></div>""" for n, v in cards)}</div>'


def _accuracy(report):
    groups = report["panoptic_quality"]
    rows = [
        (n, *(_number(groups[n][k]) for k in ("PQ", "SQ", "RQ")), groups[n]["N"]) for n in ("All", "Things", "Stuff")
    ]
    yield _section("Accuracy", _table(("", "PQ", "SQ", "RQ", "classes"), rows))
    colors = {True: "#4477aa", False: "#99bb88"}
    per_class = [(r["name"], 100 * r["pq"], colors[r["is_thing"]]) for r in report["per_class"]]
    yield _section("PQ per class", plots.bars(per_class) + '<p class="pale">blue: things, green: stuff</p>')
    rows = [
        (r["name"], *(_number(100 * r[k]) for k in ("pq", "sq", "rq", "semantic_iou")), r["tp"], r["fp"], r["fn"])
        for r in report["per_class"]
    ]
    yield _section("", _table(("class", "PQ", "SQ", "RQ", "IoU", "TP", "FP", "FN"), rows))
    confusion = report["confusion"]
    drawn = plots.matrix(confusion["classes"], [*confusion["classes"], UNLABELLED], confusion["matrix"])
    note = '<p class="pale">rows: truth, columns: prediction; percent of the true pixels</p>'
    yield _section("Confusion of classes", f'<div class="wide">{drawn}</div>{note}')
    values = [row["PQ"] for row in report["per_frame"]]
    yield _section("PQ over the recording", plots.timeline(values, "PQ", np.nanmin))


def _times(report):
    rows = [(name, *(_number(v) for v in stage.values())) for name, stage in report["latency_ms"].items()]
    yield _section("Time per frame, ms", _table(("stage", *report["latency_ms"]["total"]), rows))
    values = [row["latency_ms"] for row in report["per_frame"]]
    yield _section("How often which time", plots.histogram(values, "ms"))
    yield _section("Time over the recording", plots.timeline(values, "ms"))


def _stability_rows(report):
    return [(text, _number(report["stability"][name])) for name, text in STABILITY_NAMES.items()]


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


def _gallery(worst, name):
    parts = []
    for entry in worst:
        pictures = "".join(
            f'<figure><img alt="{title}" src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'
            f"<figcaption>{title}</figcaption></figure>"
            for title, data in entry["pictures"].items()
        )
        parts.append(
            f'<h3>frame {entry["index"]}: {name} {entry["value"]:.1f} %</h3><div class="frames">{pictures}</div>'
        )
    if any("errors" in entry["pictures"] for entry in worst):
        parts.append(
            '<p class="pale">errors: red another class or none, orange the right class in no matching segment</p>'
        )
    return "".join(parts) or '<p class="pale">none</p>'


def _section(title, content):
    return f"<section>{f'<h2>{escape(title)}</h2>' if title else ''}{content}</section>"


def _table(head, rows):
    cells = "".join(f"<th>{escape(str(cell))}</th>" for cell in head)
    lines = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>"


def _number(value):
    return "-" if math.isnan(value) else f"{value:.1f}"
