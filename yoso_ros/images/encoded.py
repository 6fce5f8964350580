# SPDX-License-Identifier: Apache-2.0
"""Encoded images to pixels: the one decoder for files, data sets, recordings and compressed topics.

The header is read first, so that an image that is too large, truncated or of an unexpected format is never decoded.
"""

import os

import cv2
import numpy as np

from yoso_ros.errors import InputError
from yoso_ros.images.headers import read_header
from yoso_ros.reading import read_bytes

MAX_IMAGE_PIXELS = 7680 * 4320  # of an image, by default
VARIABLE = "YOSO_MAX_IMAGE_PIXELS"  # environment variable; the node has a parameter for this
FILE_KINDS = ("jpeg", "png", "bmp", "webp", "tiff", "pnm")
BYTES_PER_PIXEL = 8  # maximum for an encoded image: four incompressible 16-bit values
SMALL_FILE = 1 << 20  # bytes allowed for an image of any size, for the metadata that cameras write


def largest_image():
    """Maximum number of pixels of an image for commands: $YOSO_MAX_IMAGE_PIXELS, or 7680 x 4320.

    Raises:
        InputError: the variable is not a number above 0.
    """
    text = os.environ.get(VARIABLE) or str(MAX_IMAGE_PIXELS)
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"{VARIABLE}: expected a number of pixels above 0, found {text!r}")
    return int(text)


def check_size(width, height, max_pixels, where):
    """Raise `InputError`, starting with `where`, if there are more than `max_pixels` (None: `largest_image()`)."""
    max_pixels = largest_image() if max_pixels is None else max_pixels
    if width * height > max_pixels:
        raise InputError(
            f"{where}: expected at most {max_pixels} pixels, found {width}x{height}; the node's parameter "
            f"max_image_pixels or the variable {VARIABLE} allows more"
        )


def decode_encoded(data, where, flags=None, kinds=FILE_KINDS, max_pixels=None):
    """Decode an image.

    Args:
        data: bytes of an image. where: file or message, starts the error message.
        flags: of cv2.imdecode, None for 8-bit RGB; the EXIF orientation is ignored.
        kinds: expected formats, out of `FILE_KINDS`.
        max_pixels: a larger image is rejected before it is decoded; None for `largest_image()`.

    Returns:
        by default uint8 (H, W, 3) RGB.

    Raises:
        InputError: another format, too large, truncated, or damaged.
    """
    *others, last = (kind.upper() for kind in kinds)
    names = f"a {', '.join(others)} or {last} picture"
    header = read_header(data)
    if header is None or header.kind not in kinds:
        found = f"a {header.kind.upper()} picture" if header else "something else or a header that is cut off"
        raise InputError(f"{where}: expected {names}, found {found}")
    check_size(header.width, header.height, max_pixels, where)
    if not header.is_whole:
        raise InputError(f"{where}: expected a whole {header.kind.upper()} picture, found one without its end")
    how = cv2.IMREAD_COLOR if flags is None else flags
    if how != cv2.IMREAD_UNCHANGED:  # which has all flag bits set
        how |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(str(error)) from error
        picture = None
    if picture is None or picture.shape[:2] != (header.height, header.width):
        raise InputError(f"{where}: expected {names}, found {len(data)} bytes of {header.kind.upper()} without one")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB) if flags is None else picture


def read_image(path, flags=None, max_pixels=None):
    """Read an image file; by default uint8 (H, W, 3) RGB, ignoring the file's EXIF rotation.

    COCO's annotations refer to the stored pixels, so a rotation tag must not rotate them. Arguments as in
    `decode_encoded`.

    Raises:
        InputError: the file is missing, cannot be read, or is not a suitable image.
    """
    return decode_encoded(read_image_file(path, max_pixels), path, flags, max_pixels=max_pixels)


def read_image_file(path, max_pixels=None):
    """The bytes of an image file. Raises `InputError` if it is not a file or is too large for an image."""
    largest = SMALL_FILE + BYTES_PER_PIXEL * (largest_image() if max_pixels is None else max_pixels)
    return read_bytes(path, "an image file", largest)
