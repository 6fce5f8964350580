# SPDX-License-Identifier: Apache-2.0
"""Causes of failures: one short line of each error, each cause told once, their number bounded whatever comes in."""

import re

from yoso_ros.errors import InputError

LONGEST_TEXT = 400  # characters; a message of a hostile sender quotes what it wants, megabytes of it
MOST_CAUSES = 50  # a node that fails in more ways than these says so and only counts from there on


def shortened(text):
    """The text on one line of at most `LONGEST_TEXT` characters: str."""
    # Cut before the blanks are looked at, so that the time is bounded too.
    head = " ".join(text[: 2 * LONGEST_TEXT].split())
    whole = len(text) <= 2 * LONGEST_TEXT and len(head) <= LONGEST_TEXT
    return head if whole else f"{head[:LONGEST_TEXT].rstrip()}... ({len(text)} characters)"


def cause_of(error):
    """An exception in one short line: the text of an InputError, type and text of any other."""
    return shortened(str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}")


def kind_of(text):
    """The part of a text that does not change from frame to frame: numbers stand as #."""
    return re.sub(r"\d+", "#", text)


class Causes:
    """Remembers which causes were told, `MOST_CAUSES` of them at most."""

    def __init__(self):
        self._known = set()
        self._told_limit = False

    def line(self, text, kind=None):
        """What to log of a failure.

        Args:
            text: one line for people.
            kind: what makes it the same cause as another one; the text without its numbers when None.

        Returns:
            str the first time, None later; beyond the limit one line says that no further causes are told.
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
        return f"{text}; more than {MOST_CAUSES} causes: further ones are counted and not told"

    def forget(self, kind):
        """Have the next one of this kind told again."""
        self._known.discard(kind)
