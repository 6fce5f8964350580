# SPDX-License-Identifier: Apache-2.0
"""`bench_cameras.py`: one pass for the frames of several cameras beside a pass for each."""

import sys
import time

from yoso_ros.cli.image_size import height_and_width
from yoso_ros.cli.segment import add_model_arguments, load_from_arguments
from yoso_ros.errors import InputError

SUMMARY = "Time one batched pass for 1, 2, 4, 8 cameras beside one pass for each camera."
EXAMPLE = "python test/benchmark/bench_cameras.py --counts 1 2 4 8 --size 720x1280"


def add_arguments(parser):
    """Add this benchmark's arguments."""
    add_model_arguments(parser)
    parser.add_argument("--counts", nargs="+", type=int, default=[1, 2, 4, 8], help="cameras (default: 1 2 4 8)")
    parser.add_argument("--size", default="720x1280", metavar="HxW", help="size of the images (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each (default: %(default)s)")


def run(arguments):
    """Measure both ways in turn for every number of cameras, and print the table."""
    import cv2
    import numpy as np
    from tqdm import tqdm

    from yoso_ros.bags import open_source
    from yoso_ros.images.decoding import decode_image

    height, width = height_and_width("--size", arguments.size)
    if arguments.rounds < 1 or min(arguments.counts) < 1:
        raise InputError("--rounds and --counts: expected numbers of at least 1")
    segmenter = load_from_arguments(arguments)
    pictures = (cv2.resize(decode_image(frame.image), (width, height)) for frame in open_source("synthetic"))
    frames = [picture for picture, _ in zip(pictures, range(max(arguments.counts)), strict=False)]
    rows = []
    for count in tqdm(arguments.counts, desc="cameras", unit="case"):
        together, apart = [], []
        segmenter.batch(frames[:count])  # the first pass of a size prepares the engine for it
        for _ in range(arguments.rounds):
            started = time.perf_counter()
            segmenter.batch(frames[:count])
            between = time.perf_counter()
            for frame in frames[:count]:
                segmenter(frame)
            together.append(1e3 * (between - started) / count)
            apart.append(1e3 * (time.perf_counter() - between) / count)
        rows.append((count, float(np.median(together)), float(np.median(apart))))
    print(f"{arguments.model} on {segmenter.backend}, {arguments.size} frames, median ms per camera")
    print(f"{'cameras':>8} {'one pass':>10} {'a pass each':>12} {'ratio':>7}")
    for count, together, apart in rows:
        print(f"{count:8d} {together:10.1f} {apart:12.1f} {apart / together:6.2f}x")
    return 0


if __name__ == "__main__":
    import script

    sys.exit(script.main(sys.modules["__main__"]))
