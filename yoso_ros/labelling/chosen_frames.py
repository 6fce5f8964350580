# SPDX-License-Identifier: Apache-2.0
"""Read single frames of recordings, and store frames as image files without loss."""

from pathlib import Path

import cv2
import numpy as np

from yoso_ros.errors import InputError

STORED = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png"}  # by the first bytes


def frames_at(source, indices):
    """Some frames of a source, read in one pass or, from a recording, one by one.

    Args:
        source: as `yoso_ros.bags.open_source` gives.
        indices: int, ascending.

    Yields:
        (index, `Frame`).

    Raises:
        InputError: the source has fewer frames.
    """
    if hasattr(source, "part"):
        for index in indices:
            for frame in source.part(index, index + 1):
                yield index, frame
        return
    wanted = set(indices)
    for index, frame in enumerate(source):
        if index in wanted:
            wanted.discard(index)
            yield index, frame
        if not wanted:
            return
    raise InputError(f"{source.name}: expected a frame {min(wanted)}, but there are fewer")


def image_file(image, decode):
    """A frame's image as the content of an image file: the stored bytes of a JPEG or PNG, else a PNG of its pixels.

    Args:
        image: `RawImage` or `CompressedImage`.
        decode: callable from it to uint8 (H, W, 3) RGB.

    Returns:
        (suffix, bytes).
    """
    if not hasattr(image, "encoding"):
        data = np.asarray(image.data, np.uint8).tobytes()
        for start, suffix in STORED.items():
            if data.startswith(start):
                return suffix, data
    return ".png", cv2.imencode(".png", cv2.cvtColor(decode(image), cv2.COLOR_RGB2BGR))[1].tobytes()


def recording_names(paths):
    """Short, unique names of recordings: the stem, followed by the number in the list where stems are equal.

    Args:
        paths: list of `pathlib.Path`.
    """
    stems = [path.stem for path in paths]
    return [s if stems.count(s) == 1 else f"{n:03d}_{s}" for n, s in enumerate(stems)]


def frame_name(recording, index):
    """File name of a frame, without suffix: `recording` (from `recording_names`) and the number of the frame."""
    return f"{recording}_{index:06d}"


def frame_index(name):
    """The number of the frame in a name from `frame_name`, with or without suffix."""
    return int(Path(name).stem.rpartition("_")[2])
