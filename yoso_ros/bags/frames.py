# SPDX-License-Identifier: Apache-2.0
"""Frames of a recording as stored, with stamp and calibration. The fields are those of sensor_msgs."""

from dataclasses import dataclass

import numpy as np

FIRST_STAMP_NS = 10**9  # for sources that have no stamps; in ROS a stamp of 0 means "not set"


@dataclass(frozen=True, slots=True)
class RawImage:
    """Pixels as in sensor_msgs/Image; `data` is uint8 (step * height,)."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: np.ndarray


@dataclass(frozen=True, slots=True)
class CompressedImage:
    """An encoded image as in sensor_msgs/CompressedImage; `data` is uint8 (n,)."""

    format: str
    data: np.ndarray


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """Calibration as in sensor_msgs/CameraInfo: pixels; row-major `k` (9), `r` (9), `p` (12); `d` of any length."""

    height: int
    width: int
    distortion_model: str
    d: tuple[float, ...]
    k: tuple[float, ...]
    r: tuple[float, ...]
    p: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a recording.

    Attributes:
        stamp_ns: nanoseconds, as recorded; strictly increasing within a source.
        frame_id: the recorded frame id.
        image: `RawImage` or `CompressedImage`.
        camera_info: `CameraInfo` or None.
        truth: uint16 (H, W) panoptic ids of the label set `synthetic` for rendered frames, else None.
    """

    stamp_ns: int
    frame_id: str
    image: RawImage | CompressedImage
    camera_info: CameraInfo | None = None
    truth: np.ndarray | None = None

    @property
    def kind(self):
        """ "raw" or "compressed"."""
        return "raw" if isinstance(self.image, RawImage) else "compressed"


def rgb_image(pixels):
    """`RawImage` of uint8 (H, W, 3) RGB pixels."""
    height, width, _ = pixels.shape
    return RawImage(height, width, "rgb8", 0, 3 * width, np.ascontiguousarray(pixels).reshape(-1))


def pinhole_info(height, width, k):
    """`CameraInfo` of a camera without distortion; `k` has 9 numbers in row-major order."""
    fx, _, cx, _, fy, cy = k[:6]
    p = (fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0)
    return CameraInfo(height, width, "plumb_bob", (0.0,) * 5, tuple(k), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0), p)
