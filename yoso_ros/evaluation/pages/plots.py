# SPDX-License-Identifier: Apache-2.0
"""Small plots as SVG text for the report: bars, histogram, timeline and matrix. Lengths are in SVG units (pixels)."""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np

LABEL_WIDTH, BAR_WIDTH, ROW_HEIGHT = 150, 420, 20
PLOT_WIDTH, PLOT_HEIGHT, MARGIN_LEFT, MARGIN_BOTTOM = 560, 150, 46, 30
MAX_POINTS = 560  # of a timeline
MAX_BINS = 40
CELL = 38


def bars(rows: list[tuple[str, float, str]], unit: str = "%", full: float = 100.0) -> str:
    """Horizontal bars: `rows` of (label, value 0..`full` or NaN, CSS colour)."""
    parts = []
    for i, (label, value, color) in enumerate(rows):
        y = i * ROW_HEIGHT
        parts.append(_text(LABEL_WIDTH - 8, y + 14, label, "end"))
        if math.isnan(value):
            parts.append(_text(LABEL_WIDTH + 4, y + 14, "not seen", extra='class="pale"'))
            continue
        width = BAR_WIDTH * min(value, full) / full
        parts.append(_rect(LABEL_WIDTH, y + 3, width, ROW_HEIGHT - 6, color))
        parts.append(_text(LABEL_WIDTH + width + 5, y + 14, f"{value:.1f} {unit}"))
    return _svg(LABEL_WIDTH + BAR_WIDTH + 70, len(rows) * ROW_HEIGHT + 4, parts)


def histogram(values: Any, unit: str) -> str:
    """Histogram of a list of numbers."""
    values = np.asarray(values, np.float64)
    low, high = float(values.min()), float(values.max())
    high = high if high > low else low + 1
    bins = int(np.clip(math.sqrt(values.size) * 2, 5, MAX_BINS))
    counts, _ = np.histogram(values, bins, (low, high))
    width, top = PLOT_WIDTH / bins, counts.max()
    parts = [
        _rect(MARGIN_LEFT + i * width, _y(c, top), width - 1, PLOT_HEIGHT - _y(c, top), "#4477aa")
        for i, c in enumerate(counts.tolist())
    ]
    return _svg(*_plot_size(), parts + _axes(f"{low:.1f} {unit}", f"{high:.1f} {unit}", str(top), "frames"))


def timeline(values: Any, unit: str, worst: Callable[..., Any] = np.nanmax) -> str:
    """A number per frame in order; NaN leaves a gap; with many frames, the `worst` of each stretch is shown."""
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).any():
        return ""
    stretches = np.array_split(values, min(values.size, MAX_POINTS))
    heights = [worst(s) if np.isfinite(s).any() else np.nan for s in stretches]
    top = max(float(np.nanmax(heights)), 1e-9)
    step = PLOT_WIDTH / max(1, len(heights) - 1)
    lines, line = [], []
    for i, value in enumerate(heights):
        if np.isfinite(value):
            line.append(f"{MARGIN_LEFT + i * step:.1f},{_y(value, top):.1f}")
        else:
            lines, line = [*lines, line], []
    parts = [
        f'<polyline points="{" ".join(points if len(points) > 1 else points * 2)}" fill="none" stroke="#4477aa" '
        f'stroke-width="{1.5 if len(points) > 1 else 4}" stroke-linecap="round"/>'  # a frame between gaps is a dot
        for points in [*lines, line]
        if points
    ]
    return _svg(*_plot_size(), parts + _axes("frame 0", f"frame {values.size - 1}", f"{top:.1f}", unit))


def columns(parts: Sequence[tuple[Sequence[float], str]], left: str, right: str) -> str:
    """Counts stacked on each other, one column per stretch of time.

    Args:
        parts: list of (list of counts, CSS colour), the lowest first, all of one length.
        left, right: texts at the ends of the axis.
    """
    width = PLOT_WIDTH / len(parts[0][0])
    top = max(1, *(sum(stack) for stack in zip(*(counts for counts, _ in parts), strict=True)))
    drawn, below = [], [0] * len(parts[0][0])
    for counts, color in parts:
        for i, count in enumerate(counts):
            low, high = _y(below[i], top), _y(below[i] + count, top)
            if count:
                drawn.append(_rect(MARGIN_LEFT + i * width, high, max(width - 1, 0.5), low - high, color))
            below[i] += count
    return _svg(*_plot_size(), drawn + _axes(left, right, str(top), "frames"))


def curve(
    points: Sequence[tuple[float, float]], unit_x: str, unit_y: str, line: float | None = None, joined: bool = True
) -> str:
    """Scatter plot, optionally `joined` in the order of x: `points` of (x, y) from 0; `line` marks a value of y."""
    points = sorted(points)
    right = max(max(x for x, _ in points), 1e-9)
    top = max(*(y for _, y in points), line or 0, 1e-9)
    places = [(MARGIN_LEFT + PLOT_WIDTH * x / right, _y(y, top)) for x, y in points]
    text = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [f'<polyline points="{text}" fill="none" stroke="#4477aa"/>'] if joined else []
    parts += [_rect(x - 3, y - 3, 6, 6, "#4477aa") for x, y in places]
    if line is not None:
        y = _y(line, top)
        parts.append(f'<path d="M{MARGIN_LEFT} {y:.1f}H{MARGIN_LEFT + PLOT_WIDTH}" stroke="#bb3c3c"/>')
    return _svg(*_plot_size(), parts + _axes(f"0 {unit_x}", f"{right:.4g} {unit_x}", f"{top:.1f}", unit_y))


def matrix(names: list[str], columns: list[str], counts: Any) -> str:
    """Shares of each row in percent as shades: `names` of rows, of columns, and int (rows, columns) counts."""
    counts = np.asarray(counts, np.float64)
    rows = np.flatnonzero(counts.sum(axis=1) > 0)
    shares = 100 * counts[rows] / counts[rows].sum(axis=1, keepdims=True)
    parts, top = [], 90
    for j, name in enumerate(columns):
        x = LABEL_WIDTH + j * CELL + CELL / 2
        parts.append(_text(x, top - 6, name, "start", f'transform="rotate(-45 {x:.0f} {top - 6})"'))
    for i, row in enumerate(rows):
        y = top + i * ROW_HEIGHT
        parts.append(_text(LABEL_WIDTH - 6, y + 14, names[row], "end"))
        for j, share in enumerate(shares[i].tolist()):
            color = "34,119,51" if j == row else "187,60,60"
            cell = _rect(LABEL_WIDTH + j * CELL, y, CELL - 1, ROW_HEIGHT - 1, f"rgba({color},{share / 100:.3f})")
            parts.append(cell.replace("/>", f"><title>{escape(names[row])} as {escape(columns[j])}</title></rect>"))
            if share >= 0.5:
                parts.append(_text(LABEL_WIDTH + j * CELL + CELL / 2, y + 14, f"{share:.0f}", "middle"))
    return _svg(LABEL_WIDTH + len(columns) * CELL + 60, top + len(rows) * ROW_HEIGHT + 4, parts)


def _plot_size():
    return MARGIN_LEFT + PLOT_WIDTH + 10, PLOT_HEIGHT + MARGIN_BOTTOM


def _y(value, top):
    return PLOT_HEIGHT - (PLOT_HEIGHT - 14) * value / top


def _axes(left, right, top, unit):
    end = MARGIN_LEFT + PLOT_WIDTH
    return [
        f'<path d="M{MARGIN_LEFT} 8V{PLOT_HEIGHT}H{end}" fill="none" stroke="#888"/>',
        _text(MARGIN_LEFT, PLOT_HEIGHT + 16, left),
        _text(end, PLOT_HEIGHT + 16, right, "end"),
        _text(MARGIN_LEFT - 4, 18, top, "end"),
        _text(MARGIN_LEFT - 4, 32, unit, "end", 'class="pale"'),
    ]


def _rect(x, y, width, height, color):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height:.1f}" fill="{color}"/>'


def _text(x, y, text, anchor="start", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{escape(str(text))}</text>'


def _svg(width, height, parts):
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img">{"".join(parts)}</svg>'
