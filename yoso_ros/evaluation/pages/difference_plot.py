# SPDX-License-Identifier: Apache-2.0
"""Differences with their intervals as SVG text: bars to both sides of zero. Lengths are in SVG units (pixels)."""

import math
from collections.abc import Sequence
from html import escape

LABEL_WIDTH, HALF_WIDTH, ROW_HEIGHT, NUMBER_WIDTH = 150, 260, 20, 190
BETTER, WORSE, UNSURE = "#4477aa", "#bb5544", "#b8b8b0"


def difference_bars(rows: Sequence[tuple[str, float, tuple[float, float]]]) -> str:
    """One row per class: list of (label, difference or NaN, (low, high) of its interval, NaN where unknown)."""
    known = [abs(v) for _, value, interval in rows for v in (value, *interval) if not math.isnan(v)]
    scale = HALF_WIDTH / max([*known, 1e-9])
    zero, height = LABEL_WIDTH + HALF_WIDTH, len(rows) * ROW_HEIGHT + 4
    parts = [f'<path d="M{zero} 0V{height}" stroke="#888"/>']
    for i, (label, value, (low, high)) in enumerate(rows):
        y = i * ROW_HEIGHT
        parts.append(_text(LABEL_WIDTH - 8, y + 14, label, "end"))
        if math.isnan(value):
            parts.append(_text(zero + 6, y + 14, "not in both runs", extra='class="pale"'))
            continue
        color = UNSURE if not is_clear((low, high)) else BETTER if value > 0 else WORSE
        left, width = zero + min(0, value) * scale, abs(value) * scale
        parts.append(f'<rect x="{left:.1f}" y="{y + 3}" width="{width:.1f}" height="{ROW_HEIGHT - 6}" fill="{color}"/>')
        if not math.isnan(low):
            ends = zero + low * scale, zero + high * scale
            parts.append(f'<path d="M{ends[0]:.1f} {y + 10}H{ends[1]:.1f}" stroke="#222" stroke-width="1.5"/>')
        parts.append(_text(zero + HALF_WIDTH + 10, y + 14, f"{signed(value)} [{signed(low)}, {signed(high)}]"))
    width = LABEL_WIDTH + 2 * HALF_WIDTH + NUMBER_WIDTH
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img">{"".join(parts)}</svg>'


def signed(value: float) -> str:
    """A difference with its sign and two decimals; a value that rounds to zero has no sign."""
    text = f"{value:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text


def is_clear(interval: tuple[float, float]) -> bool:
    """Whether an interval (low, high) excludes zero."""
    low, high = interval
    return low > 0 or high < 0


def _text(x, y, text, anchor="start", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{escape(str(text))}</text>'
