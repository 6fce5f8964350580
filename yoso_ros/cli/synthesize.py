# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros synthesize`: a data set of rendered scenes with exact ground truth."""

from pathlib import Path

from yoso_ros.errors import InputError

SUMMARY = "Render scenes with exact ground truth and write them as a COCO panoptic data set."
EXAMPLE = "yoso-ros synthesize --output data/synthetic --split train --count 2000 --size 320x240 --seed 1"


def image_size(text):
    """ "320x240" to (320, 240).

    Raises:
        InputError: not two positive numbers of at least 8 with an x between them.
    """
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) >= 8 and int(height) >= 8):
        raise InputError(f"--size: expected WIDTHxHEIGHT in pixels, at least 8x8, such as 320x240; found {text!r}")
    return int(width), int(height)


def add_arguments(parser):
    """Declare the options."""
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the data set; created if missing")
    parser.add_argument("--count", type=int, default=200, metavar="N", help="frames to write (default 200)")
    parser.add_argument("--size", default="320x240", metavar="WxH", help="frame size in pixels (default 320x240)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same files (default 0)")
    parser.add_argument("--split", default="train", help="name of the split, train or val (default train)")
    parser.add_argument(
        "--frames-per-scene", type=int, default=10, metavar="N", help="frames before a new scene begins (default 10)"
    )
    parser.add_argument(
        "--rate", type=float, default=5.0, metavar="HZ", help="frames per second of scene time (default 5)"
    )
    parser.add_argument(
        "--world", default="yard", help="yard, the world of the shipped checkpoint, or dusk, which it has not seen"
    )
    parser.add_argument("--noise", type=float, default=2.0, help="sensor noise, 8-bit steps (default 2; 0 for none)")
    parser.add_argument("--format", choices=("jpg", "png"), default="jpg", help="image format (default jpg)")
    parser.add_argument("--depth", action="store_true", help="also write depth as 16-bit PNG in millimetres")
    parser.add_argument(
        "--bag",
        metavar="BAG",
        help="also write a recording (mcap) with images, camera_info, depth and ground truth with track ids",
    )


def run(arguments):
    """Write the data set and print its location and the rendering speed."""
    import cv2
    from tqdm import tqdm

    from yoso_ros.data.synthetic.dataset import Synthesis, write_dataset
    from yoso_ros.data.synthetic.worlds import WORLDS

    width, height = image_size(arguments.size)
    for name in ("count", "frames_per_scene", "rate"):
        if getattr(arguments, name) <= 0:
            raise InputError(f"--{name.replace('_', '-')}: expected more than 0, found {getattr(arguments, name)}")
    if arguments.seed < 0 or arguments.noise < 0:
        raise InputError(f"--seed and --noise: expected 0 or more, found {arguments.seed} and {arguments.noise:g}")
    if arguments.world not in WORLDS:
        raise InputError(f"--world: expected one of {', '.join(WORLDS)}, found {arguments.world!r}")
    synthesis = Synthesis(
        count=arguments.count,
        width=width,
        height=height,
        seed=arguments.seed,
        split=arguments.split,
        frames_per_scene=arguments.frames_per_scene,
        rate_hz=arguments.rate,
        noise=arguments.noise,
        image_format=arguments.format,
        depth=arguments.depth or arguments.bag is not None,
        world=arguments.world,
    )
    if arguments.bag and Path(arguments.bag).exists():
        raise InputError(f"--bag: expected a folder that does not exist yet, found {arguments.bag}")
    cv2.setNumThreads(1)  # the printed speed is that of one core
    report = write_dataset(arguments.output, synthesis, lambda frames: tqdm(frames, "synthesize", unit="frame"))
    print(
        f"{report['frames']} frames of {width}x{height} in {report['scenes']} scenes, one core: "
        f"{report['frames'] / report['render_seconds']:.0f} frames per second of processor time rendered, "
        f"{report['frames'] / report['total_seconds']:.0f} frames/s of wall time including writing the files\n"
        f"{arguments.output}/panoptic_{arguments.split}.json"
    )
    if arguments.bag:
        from yoso_ros.bags.from_dataset import write_dataset_bag
        from yoso_ros.data import open_dataset

        dataset = open_dataset(arguments.output, arguments.split)
        write_dataset_bag(
            dataset, arguments.bag, rate_hz=arguments.rate, progress=lambda frames: tqdm(frames, "bag", unit="frame")
        )
        print(f"recording: {arguments.bag}")
