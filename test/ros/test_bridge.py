# SPDX-License-Identifier: Apache-2.0
"""cv_bridge: agreement on the encodings that both read, and the way of those that only it reads."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from yoso_ros.errors import InputError
from yoso_ros.images.decoding import LAYOUTS, decode_image
from yoso_ros.ros.bridge import decode_any_image

HEIGHT, WIDTH = 12, 16
# Names that it does not know, or does not take for colours.
OURS_ALONE = {"8UC1", "8UC3", "8UC4", "uyvy", "yuyv", "nv12", "nv21"}


def random_bytes(layout, padding_pixels):
    rows = HEIGHT * 3 // 2 if layout.planes else HEIGHT
    step = (WIDTH + padding_pixels) * layout.channels * layout.bits // 8
    return step, np.random.default_rng(0).integers(0, 256, rows * step, np.uint8).tobytes()


@pytest.mark.parametrize("padding_pixels", [0, 4])
def test_agreement(padding_pixels):
    cv_bridge = pytest.importorskip("cv_bridge", reason="needs cv_bridge, which comes with a ROS installation")
    from sensor_msgs.msg import Image

    for encoding in sorted(set(LAYOUTS) - OURS_ALONE):
        step, data = random_bytes(LAYOUTS[encoding], padding_pixels)
        message = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=step)
        message.data.frombytes(data)
        theirs = cv_bridge.CvBridge().imgmsg_to_cv2(message, "rgb8").astype(int)
        # It rounds 16 bits to the nearest of 255 steps, `decode_image` keeps the upper byte.
        tolerance = 1 if LAYOUTS[encoding].bits == 16 else 0
        assert np.abs(decode_image(message) - theirs).max() <= tolerance, encoding


def message_of(encoding):
    return SimpleNamespace(height=2, width=2, encoding=encoding, is_bigendian=0, step=6, data=bytes(range(12)))


def test_encodings_beyond_the_list_go_through_it(monkeypatch):
    class CvBridge:
        def imgmsg_to_cv2(self, message, encoding):
            assert encoding == "rgb8"
            if message.encoding != "nv24":
                raise RuntimeError("Unrecognized image encoding")
            return np.full((2, 2, 3), 7, np.uint8)

    monkeypatch.setitem(sys.modules, "cv_bridge", SimpleNamespace(CvBridge=CvBridge))
    assert (decode_any_image(message_of("nv24")) == 7).all()
    np.testing.assert_array_equal(decode_any_image(message_of("rgb8")).ravel(), np.arange(12))
    with pytest.raises(InputError, match="rgb8.*or one of cv_bridge; found 'no_such': Unrecognized"):
        decode_any_image(message_of("no_such"))


def test_without_it_the_list_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv_bridge", None)  # an import fails then
    with pytest.raises(InputError, match="expected an encoding of .*rgb8.*; found 'nv24'"):
        decode_any_image(message_of("nv24"))
