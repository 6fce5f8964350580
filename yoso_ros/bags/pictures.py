# SPDX-License-Identifier: Apache-2.0
"""Frames from image files and video files. They have no calibration; stamps follow the frame rate."""

import os
import re
from pathlib import Path

import cv2

from yoso_ros.bags.frames import FIRST_STAMP_NS, Frame, rgb_image
from yoso_ros.errors import InputError
from yoso_ros.images.encoded import check_size, read_image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
FOLDER_RATE = 10.0  # frames/s of a folder of images, which has no rate of its own
FRAME_ID = "camera"


def natural_order(name):
    """Sort key that compares numbers by value: frame2 before frame10."""
    # Superscript digits count as digits but cannot be converted to a number.
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part.lower()) for part in re.split(r"(\d+)", name) if part
    ]


class ImageFiles:
    """Frames from image files, one by one, in the given order.

    Attributes:
        name: as given by the user; rate_hz: frames per second.
    """

    losses = ()  # a file that cannot be decoded is an error

    def __init__(self, name, paths, rate_hz=FOLDER_RATE):
        self.name, self.rate_hz, self._paths = str(name), rate_hz, list(paths)

    @classmethod
    def from_folder(cls, folder):
        """All images of a folder in natural order.

        Raises:
            InputError: the folder contains no image.
        """
        names = [e.name for e in os.scandir(folder) if e.is_file() and e.name.lower().endswith(IMAGE_SUFFIXES)]
        if not names:
            raise InputError(f"{folder}: expected images ({' '.join(IMAGE_SUFFIXES)}) or a rosbag2 metadata.yaml in it")
        return cls(folder, [os.path.join(folder, name) for name in sorted(names, key=natural_order)])

    def __len__(self):
        return len(self._paths)

    def __iter__(self):
        for index, path in enumerate(self._paths):
            image = rgb_image(read_image(path))
            yield Frame(FIRST_STAMP_NS + round(index * 1e9 / self.rate_hz), FRAME_ID, image)


class VideoFile:
    """Frames of a video file; attributes as `ImageFiles`.

    Raises:
        InputError: not a video that OpenCV can read.
    """

    def __init__(self, path):
        self.name, self.losses = str(path), []
        if not Path(path).is_file():
            raise InputError(f"{path}: expected a video, found a folder, pipe or device")
        capture = self._open()
        self.rate_hz = capture.get(cv2.CAP_PROP_FPS) or FOLDER_RATE
        self._length = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        size = (int(capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        check_size(*size, None, path)
        readable, _ = capture.read()
        capture.release()
        if not readable:
            raise InputError(f"{path}: expected a video, found no frame that can be decoded")

    def _open(self):
        capture = cv2.VideoCapture(self.name)
        if not capture.isOpened():
            raise InputError(f"{self.name}: expected a video file that OpenCV can read")
        return capture

    def __len__(self):
        return self._length

    def __iter__(self):
        capture = self._open()
        try:
            for index in range(self._length):
                more, image = capture.read()
                if not more:
                    self.losses = [f"{self._length - index} of {self._length} frames cannot be decoded"]
                    return
                rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
                yield Frame(FIRST_STAMP_NS + round(index * 1e9 / self.rate_hz), FRAME_ID, rgb_image(rgb))
        finally:
            capture.release()
