# SPDX-License-Identifier: Apache-2.0
"""Depth images as REP-118 has them: the encoding decides the unit. Needs no ROS, only the fields of the message."""

import numpy as np

from yoso_ros.errors import InputError

# Encoding to the type of a pixel and the metres of one unit.
DEPTH_ENCODINGS = {"16UC1": ("u2", 1e-3), "mono16": ("u2", 1e-3), "32FC1": ("f4", 1.0)}


def decode_depth(message):
    """Read a depth image.

    Args:
        message: has height, width, encoding, is_bigendian, step, data (a buffer of bytes), as sensor_msgs/Image.

    Returns:
        float32 (H, W), metres along the optical axis; NaN where the depth is unknown: 0 millimetres, or metres that are
        NaN, infinite, zero or negative.

    Raises:
        InputError: another encoding, zero size, wrong step, or data of the wrong length.
    """
    if message.encoding not in DEPTH_ENCODINGS:
        raise InputError(f"expected a depth image of {', '.join(DEPTH_ENCODINGS)}; found {message.encoding!r}")
    kind, metres = DEPTH_ENCODINGS[message.encoding]
    depth = single_channel(message, kind)
    if kind == "u2":
        depth = depth * np.float32(metres)
        depth[depth == 0] = np.nan
        return depth
    return np.where((depth > 0) & np.isfinite(depth), depth, np.float32(np.nan)).astype(np.float32, copy=False)


def single_channel(message, kind):
    """Pixels of an image with one channel: array (H, W) of `kind`, "u2" or "f4"; a view where that is possible.

    Raises:
        InputError: zero size, wrong step, or data of the wrong length.
    """
    height, width, step = message.height, message.width, message.step
    dtype = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
    name, row_bytes = f"{width}x{height} pixels of {message.encoding}", width * dtype.itemsize
    if height == 0 or width == 0:
        raise InputError(f"expected at least one pixel, found {name}")
    if step < row_bytes:
        raise InputError(f"expected a step of at least {row_bytes} bytes for {name}, found {step}")
    data = np.frombuffer(message.data, np.uint8)
    if data.size != height * step:
        raise InputError(f"expected {height * step} bytes ({height} rows of step {step}) for {name}, found {data.size}")
    rows = data.reshape(height, step)[:, :row_bytes]
    return np.ascontiguousarray(rows).view(dtype)
