# SPDX-License-Identifier: Apache-2.0
"""The error for problems that a user can fix, and the formatting of the value found."""

import reprlib

LONGEST = 80  # characters of a value in an error

_SHORT = reprlib.Repr()
_SHORT.maxlevel = 2  # lists of lists of lists: a few lines of YAML can hold millions of them
_SHORT.maxstring = _SHORT.maxother = 60


class InputError(ValueError):
    """Bad input from outside (file, message, option): says what was expected, what was found, and what to do."""


def brief(value):
    """A value for an error message, however large: like `repr`, with at most 80 characters."""
    text = _SHORT.repr(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
