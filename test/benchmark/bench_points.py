# SPDX-License-Identifier: Apache-2.0
"""`bench_points.py`: depth and panoptic image to the bytes of a labelled cloud, beside the plain way."""

import sys
import time
from types import SimpleNamespace

from yoso_ros.cli.image_size import height_and_width
from yoso_ros.errors import InputError

SUMMARY = "Time the labelled point cloud beside plain numpy (rays in float64 for each frame, fields stacked)."
EXAMPLE = "python test/benchmark/bench_points.py --size 480x640"
FOCAL, UNKNOWN_PART = 0.9, 0.1  # focal length as a part of the width; part of the pixels without depth


def add_arguments(parser):
    """Add this benchmark's arguments."""
    parser.add_argument("--size", default="480x640", metavar="HxW", help="size of the images (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=50, help="measurements of each (default: %(default)s)")


def run(arguments):
    """Measure both forms of the cloud and the plain way, in turn, and print the table."""
    import numpy as np
    from tqdm import trange

    from yoso_ros.geometry.camera_model import CameraModel
    from yoso_ros.geometry.depth import decode_depth
    from yoso_ros.geometry.point_cloud import cloud_bytes, cloud_from_depth

    if arguments.rounds < 1:
        raise InputError(f"--rounds: expected at least 1, found {arguments.rounds}")
    height, width = height_and_width("--size", arguments.size)
    message, panoptic, rgb = _scene(height, width)
    k = (FOCAL * width, 0.0, width / 2 - 0.5, 0.0, FOCAL * width, height / 2 - 0.5, 0.0, 0.0, 1.0)
    info = SimpleNamespace(height=height, width=width, k=k, d=(), p=None, distortion_model="plumb_bob")
    rays = CameraModel(info).rays()
    ways = {
        "organized": lambda: cloud_bytes(cloud_from_depth(decode_depth(message), rays, panoptic, rgb, True)),
        "known points": lambda: cloud_bytes(cloud_from_depth(decode_depth(message), rays, panoptic, rgb, False)),
        "plain numpy": lambda: _plain(message, k, panoptic, rgb),
    }
    if bytes(ways["known points"]()) != ways["plain numpy"]():
        raise AssertionError("the two ways do not give the same cloud")
    spent = {name: [] for name in ways}
    for _ in trange(arguments.rounds, desc="points", unit="round"):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            spent[name].append(1e3 * (time.perf_counter() - started))
    print(f"{width}x{height} 16UC1 depth, panoptic and rgb8 image to the bytes of x y z rgb label instance, ms")
    print(f"{'':>14} {'median':>8} {'p95':>8} {'ratio':>7}")
    plain = float(np.median(spent["plain numpy"]))
    for name, times in spent.items():
        median, high = np.percentile(times, [50, 95])
        print(f"{name:>14} {median:8.2f} {high:8.2f} {plain / median:6.1f}x")
    return 0


def _scene(height, width):
    import numpy as np

    random = np.random.default_rng(0)
    depth = random.integers(500, 8000, (height, width), np.uint16)
    depth[random.random((height, width)) < UNKNOWN_PART] = 0
    message = SimpleNamespace(height=height, width=width, encoding="16UC1", is_bigendian=0, step=2 * width)
    message.data = depth.tobytes()
    panoptic = random.integers(0, 65536, (height, width), np.uint16)
    return message, panoptic, random.integers(0, 256, (height, width, 3), np.uint8)


def _plain(message, k, panoptic, rgb):
    """The same bytes the way one writes it down first."""
    import numpy as np

    z = np.frombuffer(message.data, np.uint16).reshape(message.height, message.width) * np.float32(1e-3)
    columns, rows = np.meshgrid(np.arange(message.width), np.arange(message.height))
    x = (((columns - k[2]) / k[0]).astype(np.float32) * z).astype(np.float32)
    y = (((rows - k[5]) / k[4]).astype(np.float32) * z).astype(np.float32)
    red, green, blue = (rgb[..., i].astype(np.uint32) for i in range(3))
    ids = panoptic.astype(np.uint32)
    words = [part.view(np.uint32) for part in (x, y, z)]
    words += [red << 16 | green << 8 | blue, (ids >> 8) | (ids & 0xFF) << 16]
    return np.stack(words, axis=-1)[z > 0].astype("<u4").tobytes()


if __name__ == "__main__":
    import script

    sys.exit(script.main(sys.modules["__main__"]))
