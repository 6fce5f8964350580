# SPDX-License-Identifier: Apache-2.0
"""Images in encodings that the package does not read itself, through cv_bridge if it is installed."""

import numpy as np

from yoso_ros.errors import InputError, brief
from yoso_ros.images.decoding import LAYOUTS, decode_image
from yoso_ros.images.encoded import check_size


def decode_any_image(message, max_pixels=None):
    """Read a sensor_msgs/Image like `decode_image`; other encodings go through cv_bridge.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        InputError: as `decode_image`; or cv_bridge cannot read the image either.
    """
    bridge = None if message.encoding in LAYOUTS else _bridge()
    if bridge is None:
        return decode_image(message, max_pixels)
    check_size(message.width, message.height, max_pixels, f"image of {brief(message.encoding)}")
    try:
        return np.ascontiguousarray(bridge.imgmsg_to_cv2(message, "rgb8"))
    except Exception as error:  # CvBridgeError, and what numpy raises for data of the wrong length
        known = ", ".join(LAYOUTS)
        raise InputError(
            f"expected an encoding of {known}, or one of cv_bridge; found {brief(message.encoding)}: {error}"
        ) from error


def _bridge():
    try:
        from cv_bridge import CvBridge
    except ImportError:
        return None
    return CvBridge()
