# SPDX-License-Identifier: Apache-2.0
"""What benchmarks of whole frames share: the arguments for their frames and rounds, and the frames themselves."""

from pathlib import Path

from yoso_ros.cli.image_size import height_and_width
from yoso_ros.errors import InputError

MOST_FRAMES = 50


def add_arguments(parser, rounds):
    """Add the arguments that `check` and `frames_by_size` read, and --device and --output; `rounds` by default."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N (default: %(default)s)")
    parser.add_argument(
        "--sizes",
        nargs="+",
        default=["own"],
        metavar="HxW",
        help="frame and network input size; own: unchanged (default)",
    )
    parser.add_argument(
        "--source", default="synthetic", help="frames: bag, folder of images, video (default: rendered)"
    )
    parser.add_argument(
        "--kept", type=int, default=30, help="with random weights: number of segments to merge (default: 30)"
    )
    parser.add_argument("--rounds", type=int, default=rounds, help="measurements of each (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="also write the numbers to this JSON file")


def check(arguments):
    """Raise `InputError` for numbers outside their ranges."""
    from yoso_ros.benchmark.merge import PROPOSALS

    if arguments.rounds < 1:
        raise InputError(f"--rounds: expected at least 1, found {arguments.rounds}")
    if not 1 <= arguments.kept <= PROPOSALS:
        raise InputError(f"--kept: expected 1 to {PROPOSALS}, found {arguments.kept}")


def frames_by_size(arguments):
    """The frames of the source at each size: iterator of ((height, width) or None for their own, list of uint8 RGB)."""
    sizes = [_size_or_own(text) for text in arguments.sizes]
    frames = _read_frames(arguments.source)
    return ((size, frames if size is None else _resized(frames, size)) for size in sizes)


def tell_left_out(ways, reasons):
    """Print why engines were left out; raises `InputError` if no way is left."""
    for reason in reasons:
        print(f"left out {reason}")
    if not ways:
        raise InputError("none of the engines can run on this machine")


def _read_frames(source):
    """The first frames of a source: list of uint8 (H, W, 3) RGB."""
    from itertools import islice

    from yoso_ros.bags import RawImage, open_source
    from yoso_ros.images.decoding import decode_compressed, decode_image

    images = [frame.image for frame in islice(open_source(source), MOST_FRAMES)]
    if not images:
        raise InputError(f"--source: expected frames, found none in {source}")
    return [decode_image(i) if isinstance(i, RawImage) else decode_compressed(i) for i in images]


def _resized(frames, size):
    import cv2

    return [cv2.resize(frame, size[::-1], interpolation=cv2.INTER_LINEAR) for frame in frames]


def _size_or_own(text):
    return None if text == "own" else height_and_width("--sizes", text, ["own"])
