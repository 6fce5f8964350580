# SPDX-License-Identifier: Apache-2.0
"""Image sizes on the command line, HxW."""

from yoso_ros.errors import InputError


def height_and_width(option, text, words=()):
    """ "512x800" to (512, 800), in pixels.

    Args:
        option: name of the option, for the message.
        text: its value.
        words: what the option accepts instead of a size, for the message.

    Raises:
        InputError: not two positive whole numbers with an x between them.
    """
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        expected = ", or ".join(["HxW in pixels such as 512x800", *words])
        raise InputError(f"{option}: expected {expected}, found {text!r}")
    return int(height), int(width)
