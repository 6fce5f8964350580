# SPDX-License-Identifier: Apache-2.0
"""The HEIGHTxWIDTH of a command line."""

from yoso_ros.errors import InputError


def height_and_width(option, text):
    """ "512x800" to (512, 800), in pixels.

    Args:
        option: name of the option, for the message.
        text: what was given for it.

    Raises:
        InputError: not two positive whole numbers with an x between them.
    """
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise InputError(f"{option}: expected HEIGHTxWIDTH in pixels such as 512x800, found {text!r}")
    return int(height), int(width)
