# SPDX-License-Identifier: Apache-2.0
"""Single frames of recordings, and frames as image files with nothing lost."""

from pathlib import Path

import cv2
import numpy as np

from yoso_ros.errors import InputError

STORED = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png"}  # by the first bytes


def frames_at(source, indices):
    """Some frames of a source, read in one go or, from a recording, each by itself.

    Args:
        source: as `yoso_ros.bags.open_source` gives.
        indices: int, rising.

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
    raise InputError(f"{source.name}: expected a frame {min(wanted)}, found fewer")


def image_file(image, decode):
    """A frame's image as an image file: the stored bytes of a JPEG or PNG, else a PNG of its pixels.

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
    """Short names of recordings, no two the same: the stem, with the number in the list where a stem is there twice.

    Args:
        paths: list of `pathlib.Path`.
    """
    stems = [path.stem for path in paths]
    return [s if stems.count(s) == 1 else f"{n:03d}_{s}" for n, s in enumerate(stems)]


def frame_name(recording, index):
    """File name without suffix of a frame: `recording` of `recording_names`, and the number of the frame."""
    return f"{recording}_{index:06d}"


def frame_index(name):
    """The number of the frame in a name of `frame_name`, with or without suffix."""
    return int(Path(name).stem.rpartition("_")[2])
