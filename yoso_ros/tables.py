# SPDX-License-Identifier: Apache-2.0
"""Cells of tables for people: names that a spreadsheet would run and Markdown would cut are only names."""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
QUOTED_STARTS = ("'", *FORMULA_STARTS)  # the apostrophe too, so that every name can be had back


def csv_text(text):
    """A text as a cell of CSV: with an apostrophe before it where a spreadsheet would take it for a formula."""
    return f"'{text}" if text.startswith(QUOTED_STARTS) else text


def text_of_csv(cell):
    """Inverse of `csv_text`."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(QUOTED_STARTS) else cell


def markdown_row(cells):
    """A line of a Markdown table."""
    return f"| {' | '.join(_markdown_text(cell) for cell in cells)} |"


def _markdown_text(cell):
    return " ".join(str(cell).split()).replace("|", "\\|")
