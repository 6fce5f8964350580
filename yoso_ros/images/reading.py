# SPDX-License-Identifier: Apache-2.0
"""Image files as RGB frames."""

import cv2


def read_rgb(path, turned=True):
    """Read an image file: uint8 (H, W, 3) RGB, or None when it does not decode.

    Args:
        path: of the file.
        turned: False leaves the rotation of the file's EXIF data alone.
    """
    flags = cv2.IMREAD_COLOR if turned else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    # Turned to RGB here: the flag that has OpenCV do it came with 4.11, and distributions still carry 4.5 and 4.6.
    image = cv2.imread(str(path), flags)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
