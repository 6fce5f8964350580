# SPDX-License-Identifier: Apache-2.0
"""Image files are read by what OpenCV 4.5 and 4.6 of the distributions have too."""

import subprocess
import sys

import cv2
import numpy as np

READ = """
import sys, cv2
if hasattr(cv2, "IMREAD_COLOR_RGB"):
    del cv2.IMREAD_COLOR_RGB  # came with OpenCV 4.11
from yoso_ros.bags.pictures import ImageFiles
from yoso_ros.images.decoding import decode_image
from yoso_ros.images.encoded import read_image
(frame,) = ImageFiles("here", sys.argv[1:])
print(decode_image(frame.image)[0, 0].tolist(), read_image(sys.argv[1])[0, 0].tolist())
"""


def test_files_are_read_without_the_flag_of_newer_versions(tmp_path):
    path = tmp_path / "orange.png"
    cv2.imwrite(str(path), np.full((4, 6, 3), (10, 100, 200), np.uint8))
    done = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[200, 100, 10] [200, 100, 10]", done.stderr
