# SPDX-License-Identifier: Apache-2.0
"""Causes of failures: one short line per error, each cause reported once, in bounded number for any input."""

import re

from yoso_ros.errors import InputError

LONGEST_TEXT = 400  # characters; a hostile sender's message can quote megabytes
MOST_CAUSES = 50  # beyond this number, further causes are only counted


def shortened(text):
    """The text on one line of at most `LONGEST_TEXT` characters: str."""
    # Cut before white space is normalised, so that the time is bounded too.
    head = " ".join(text[: 2 * LONGEST_TEXT].split())
    whole = len(text) <= 2 * LONGEST_TEXT and len(head) <= LONGEST_TEXT
    return head if whole else f"{head[:LONGEST_TEXT].rstrip()}... ({len(text)} characters)"


def cause_of(error):
    """An exception in one short line: the text of an InputError, type and text of any other."""
    return shortened(str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}")


def kind_of(text):
    """The part of a text that does not change from frame to frame: numbers are replaced by #."""
    return re.sub(r"\d+", "#", text)


class Causes:
    """Remembers which causes were reported, at most `MOST_CAUSES`."""

    def __init__(self):
        self._known = set()
        self._told_limit = False

    def line(self, text, kind=None):
        """The line to log for a failure.

        Args:
            text: one line for people.
            kind: failures of the same kind have the same cause; None: the text without its numbers.

        Returns:
            str the first time, None later; at the limit one line says that no further causes are reported.
        """
        text = shortened(text)
        kind = kind_of(text) if kind is None else shortened(kind)
        if kind in self._known:
            return None
        if len(self._known) < MOST_CAUSES:
            self._known.add(kind)
            return text
        if self._told_limit:
            return None
        self._told_limit = True
        return f"{text}; more than {MOST_CAUSES} causes: further ones are counted but not reported"

    def forget(self, kind):
        """Report the next failure of this kind again."""
        self._known.discard(kind)
