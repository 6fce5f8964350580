# SPDX-License-Identifier: Apache-2.0
"""The frames that a benchmark runs on, and their size on the command line."""

from yoso_ros.cli.image_size import height_and_width
from yoso_ros.errors import InputError

MOST_FRAMES = 50


def read_frames(source):
    """The first frames of a source: list of uint8 (H, W, 3) RGB."""
    from itertools import islice

    from yoso_ros.bags import RawImage, open_source
    from yoso_ros.images.decoding import decode_compressed, decode_image

    images = [frame.image for frame in islice(open_source(source), MOST_FRAMES)]
    if not images:
        raise InputError(f"--source: expected frames, found none in {source}")
    return [decode_image(i) if isinstance(i, RawImage) else decode_compressed(i) for i in images]


def resized(frames, size):
    """Frames of another (height, width), bilinear."""
    import cv2

    return [cv2.resize(frame, size[::-1], interpolation=cv2.INTER_LINEAR) for frame in frames]


def size_or_own(text):
    """ "512x800" to (512, 800), "own" to None: frames as they are."""
    if text == "own":
        return None
    return height_and_width("--sizes", text, ["own"])
