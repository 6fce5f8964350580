# SPDX-License-Identifier: Apache-2.0
"""The bytes of an image message as an array. Works on any object with the fields of sensor_msgs/Image."""

import numpy as np

from yoso_ros.errors import InputError


def image_rows(message, row_bytes, rows=None):
    """Rows of an image without their padding.

    Args:
        message: has height, width, encoding, step, data (a buffer of bytes).
        row_bytes: bytes per row without padding.
        rows: number of rows; None for the height of the image.

    Returns:
        uint8 (rows, row_bytes), a view of the data.

    Raises:
        InputError: zero size, a step that is too small, or data of the wrong length.
    """
    name, step = f"{message.width}x{message.height} pixels of {message.encoding[:40]}", message.step
    rows = message.height if rows is None else rows
    if message.height == 0 or message.width == 0:
        raise InputError(f"expected at least one pixel, found {name}")
    if step < row_bytes:
        raise InputError(f"expected a step of at least {row_bytes} bytes for {name}, found {step}")
    data = np.frombuffer(message.data, np.uint8)
    if data.size != rows * step:
        raise InputError(f"expected {rows * step} bytes ({rows} rows of step {step}) for {name}, found {data.size}")
    return data.reshape(rows, step)[:, :row_bytes]


def image_array(message, dtype, channels=1):
    """Pixels of an image: array (H, W), or (H, W, channels), a view if possible.

    Args:
        message: has height, width, encoding, is_bigendian, step, data (a buffer of bytes).
        dtype: of a value, such as "u2"; the byte order is taken from the message.
        channels: values per pixel.

    Raises:
        InputError: as for `image_rows`.
    """
    dtype = np.dtype(dtype).newbyteorder(">" if message.is_bigendian else "<")
    rows = image_rows(message, message.width * channels * dtype.itemsize)
    # A padded row may end at an odd byte, which numpy cannot view as wider values; in that case the rows are copied.
    values = rows if dtype.itemsize == 1 else np.ascontiguousarray(rows).view(dtype)
    return values if channels == 1 else values.reshape(message.height, message.width, channels)
