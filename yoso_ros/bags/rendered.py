# SPDX-License-Identifier: Apache-2.0
"""Frames of the project's own rendered scene, with calibration and exact ground truth; nothing is stored."""

from yoso_ros.bags.frames import FIRST_STAMP_NS, Frame, pinhole_info, rgb_image
from yoso_ros.data.synthetic import Renderer, random_scene

NAME = "synthetic"
FRAME_ID = "camera_optical"


class RenderedScene:
    """A drive through one rendered scene.

    Args:
        length: frames. width, height: pixels. rate_hz: frames per second of scene time. seed: of the scene.
    """

    name = NAME
    losses = ()

    def __init__(self, length=100, width=640, height=480, rate_hz=10.0, seed=10):
        self.rate_hz, self._length, self._size, self._seed = rate_hz, length, (width, height), seed

    def __len__(self):
        return self._length

    def __iter__(self):
        scene, renderer = random_scene(self._seed), Renderer(*self._size)
        info = pinhole_info(self._size[1], self._size[0], renderer.intrinsics.k)
        for index in range(self._length):
            frame = renderer.render(scene, index / self.rate_hz, [self._seed, index])
            stamp = FIRST_STAMP_NS + round(index * 1e9 / self.rate_hz)
            yield Frame(stamp, FRAME_ID, rgb_image(frame.image), info, frame.panoptic)
