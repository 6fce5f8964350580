# SPDX-License-Identifier: Apache-2.0
"""Depth images as in REP-118: the encoding determines the unit. Does not need ROS, only the fields of the message."""

import numpy as np

from yoso_ros.errors import InputError
from yoso_ros.images.pixels import image_array

# Encoding to the pixel type and the metres per unit.
DEPTH_ENCODINGS = {"16UC1": ("u2", 1e-3), "mono16": ("u2", 1e-3), "32FC1": ("f4", 1.0)}


def decode_depth(message):
    """Read a depth image.

    Args:
        message: has height, width, encoding, is_bigendian, step, data (a buffer of bytes), as in sensor_msgs/Image.

    Returns:
        float32 (H, W), metres along the optical axis; NaN for unknown depth: 0 millimetres, or metres that are
        NaN, infinite, zero or negative.

    Raises:
        InputError: another encoding, zero size, wrong step, or data of the wrong length.
    """
    if message.encoding not in DEPTH_ENCODINGS:
        raise InputError(f"expected a depth image of {', '.join(DEPTH_ENCODINGS)}; found {message.encoding!r}")
    kind, metres = DEPTH_ENCODINGS[message.encoding]
    depth = image_array(message, kind)
    if kind == "u2":
        depth = depth * np.float32(metres)
        depth[depth == 0] = np.nan
        return depth
    return np.where((depth > 0) & np.isfinite(depth), depth, np.float32(np.nan)).astype(np.float32, copy=False)
