# SPDX-License-Identifier: Apache-2.0
"""The building blocks of a report page: one HTML file that works offline, with sections, tables and cards."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from string import Template
from typing import Any

PAGE = Template("""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>$title</title><style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fcfcfa; max-width: 1080px; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; } td, th { padding: .15rem .7rem; text-align: right; }
td:first-child, th:first-child { text-align: left; } th { border-bottom: 1px solid #999; font-weight: 600; }
tr:nth-child(even) td { background: #f1f1ec; } table.texts td, table.texts th { text-align: left; }
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


def page(title: str, subtitle: str, parts: list[str]) -> str:
    """A whole page: str. Title and subtitle are text, `parts` list of HTML."""
    return PAGE.substitute(title=escape(title), subtitle=escape(subtitle), body="\n".join(parts))


def card_row(cards: list[tuple[str, str]]) -> str:
    """The main numbers: list of (name, value), both text."""
    return f'<div class="cards">{"".join(f"""<div class="card">{n}<b>{v}</b></div>""" for n, v in cards)}</div>'


def section(title: str, content: str) -> str:
    """A section of the page: title as text, content as HTML; without a title it continues the previous one."""
    return f"<section>{f'<h2>{escape(title)}</h2>' if title else ''}{content}</section>"


def table(head: Sequence[Any], rows: Iterable[Any], texts: bool = False) -> str:
    """A table: head and rows of anything printable, right-aligned like numbers unless they are `texts`."""
    cells = "".join(f"<th>{escape(str(cell))}</th>" for cell in head)
    top = f"<thead><tr>{cells}</tr></thead>" if any(head) else ""
    lines = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    kind = ' class="texts"' if texts else ""
    return f"<table{kind}>{top}<tbody>{lines}</tbody></table>"


def number(value: float) -> str:
    """One decimal, `-` for an undefined number."""
    return "-" if math.isnan(value) else f"{value:.1f}"
