# SPDX-License-Identifier: Apache-2.0
"""Camera messages to RGB frames: sensor_msgs/Image and CompressedImage to uint8 (H, W, 3), or an explanatory error.

Works on any object with the fields of the message, so it does not need ROS. Encodings are those of
sensor_msgs/image_encodings.hpp, read as cv_bridge reads them.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from yoso_ros.errors import InputError, brief
from yoso_ros.images.encoded import check_size, decode_encoded
from yoso_ros.images.pixels import image_array, image_rows

COMPRESSED_KINDS = ("jpeg", "png")  # what image_transport sends
SMALLEST_BAYER = 3  # pixels per side; OpenCV turns anything smaller black


@dataclass(frozen=True)
class _Layout:
    """Memory layout of an encoding. `to_rgb` is an OpenCV conversion code, None if the bytes are RGB already."""

    channels: int = 1
    bits: int = 8
    to_rgb: int | None = None
    even_width: bool = False
    planes: bool = False  # nv12, nv21: a half-height plane of chroma pairs follows the luma plane

    @property
    def is_bayer(self):
        return self.channels == 1 and not self.planes and self.to_rgb != cv2.COLOR_GRAY2RGB


def _layouts():
    gray = {"mono": cv2.COLOR_GRAY2RGB}
    # ROS names a Bayer pattern by its first two rows, OpenCV by the second and third pixel of its second row.
    gray |= {"bayer_rggb": cv2.COLOR_BayerBG2RGB, "bayer_bggr": cv2.COLOR_BayerRG2RGB}
    gray |= {"bayer_gbrg": cv2.COLOR_BayerGR2RGB, "bayer_grbg": cv2.COLOR_BayerGB2RGB}
    layouts = {f"{name}{bits}": _Layout(1, bits, code) for name, code in gray.items() for bits in (8, 16)}
    for bits in (8, 16):
        layouts[f"rgb{bits}"] = _Layout(3, bits)
        layouts[f"bgr{bits}"] = _Layout(3, bits, cv2.COLOR_BGR2RGB)
        layouts[f"rgba{bits}"] = _Layout(4, bits, cv2.COLOR_RGBA2RGB)
        layouts[f"bgra{bits}"] = _Layout(4, bits, cv2.COLOR_BGRA2RGB)
    # OpenCV's own type names have no colour order; by convention blue comes first.
    layouts["8UC1"], layouts["8UC3"], layouts["8UC4"] = layouts["mono8"], layouts["bgr8"], layouts["bgra8"]
    layouts["yuv422"] = layouts["uyvy"] = _Layout(2, 8, cv2.COLOR_YUV2RGB_UYVY, even_width=True)
    layouts["yuv422_yuy2"] = layouts["yuyv"] = _Layout(2, 8, cv2.COLOR_YUV2RGB_YUY2, even_width=True)
    layouts["nv12"] = _Layout(1, 8, cv2.COLOR_YUV2RGB_NV12, even_width=True, planes=True)
    layouts["nv21"] = _Layout(1, 8, cv2.COLOR_YUV2RGB_NV21, even_width=True, planes=True)
    return layouts


LAYOUTS = _layouts()


def decode_image(message, max_pixels=None):
    """Read a sensor_msgs/Image.

    Rows may be padded (`step` larger than a row). 16-bit values keep their upper 8 bits.

    Args:
        message: has height, width, encoding, is_bigendian, step, data (a buffer of bytes).
        max_pixels: see `decode_encoded`.

    Returns:
        uint8 (H, W, 3), RGB. For rgb8 a view of the message's data without padding, else a new array.

    Raises:
        InputError: unknown encoding, zero size, too many pixels, wrong step, or data of the wrong length.
    """
    layout = LAYOUTS.get(message.encoding)
    if layout is None:
        raise InputError(f"expected an encoding of {', '.join(LAYOUTS)}; found {brief(message.encoding)}")
    check_size(message.width, message.height, max_pixels, f"image of {message.encoding}")
    pixels = _pixels(message, layout)
    if layout.bits == 16:
        pixels = (pixels >> 8).astype(np.uint8)
    return pixels if layout.to_rgb is None else cv2.cvtColor(pixels, layout.to_rgb)


def _pixels(message, layout):
    height, width = message.height, message.width
    name = f"{width}x{height} pixels of {message.encoding}"
    if (layout.even_width and width % 2) or (layout.planes and height % 2):
        raise InputError(f"expected an even {'width and height' if layout.planes else 'width'}, found {name}")
    if layout.is_bayer and 0 < min(height, width) < SMALLEST_BAYER:
        raise InputError(f"expected at least {SMALLEST_BAYER}x{SMALLEST_BAYER} pixels of Bayer pattern, found {name}")
    if layout.planes:
        return image_rows(message, width, height * 3 // 2)
    return image_array(message, f"u{layout.bits // 8}", layout.channels)


def decode_picture(message, max_pixels=None):
    """Read either kind of message, as told by its fields; see `decode_image` and `decode_compressed`."""
    return (decode_image if hasattr(message, "encoding") else decode_compressed)(message, max_pixels)


def decode_compressed(message, max_pixels=None):
    """Read a sensor_msgs/CompressedImage that contains a JPEG or PNG image.

    Args:
        message: has format and data (a buffer of bytes). The format may be plain ("jpeg") or the long form of
            image_transport ("bgr8; jpeg compressed bgr8"); whether it is JPEG or PNG is decided by the bytes.
        max_pixels: see `decode_encoded`.

    Returns:
        uint8 (H, W, 3), RGB, a new array. The EXIF orientation is ignored, so that the output keeps the geometry of
        camera_info.

    Raises:
        InputError: no data, another format, too many pixels, or truncated or corrupt data.
    """
    data = message.data.tobytes() if hasattr(message.data, "tobytes") else bytes(message.data)
    where = f"format {brief(message.format)} with {len(data)} bytes"
    if "compressedDepth" in message.format:
        raise InputError(f"{where}: expected a colour picture, found depth")
    # image_transport stores swapped channels if the format says "compressed rgb".
    flags = cv2.IMREAD_COLOR if "compressed rgb" in message.format else None
    return decode_encoded(data, where, flags, COMPRESSED_KINDS, max_pixels)
