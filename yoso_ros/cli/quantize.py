# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros quantize`: int8 for the OpenVINO engine, calibrated on the user's own frames."""

SUMMARY = "Quantise a model to int8 for the OpenVINO engine with frames from your camera; then use --precision int8."
EXAMPLE = "yoso-ros quantize --model yoso_mobilenetv2_camvid --calibration drive.mcap --frames 100"


def add_arguments(parser):
    """Add this subcommand's arguments."""
    parser.add_argument("--model", default="yoso_mobilenetv2_camvid", help="model name or YAML (default: %(default)s)")
    parser.add_argument("--weights", help="checkpoint (default: the one that comes with the model)")
    parser.add_argument(
        "--calibration", required=True, help="a bag, folder of images or video with frames like those it will see"
    )
    parser.add_argument("--topic", help="image topic of a bag (default: the only camera topic)")
    parser.add_argument(
        "--frames", type=int, default=100, help="number of frames to use, evenly spaced (default: %(default)s)"
    )
    parser.add_argument("--output", help="also copy the graph (graph.xml, graph.bin) into this folder")


def run(arguments):
    """Read the frames, quantise, and print where the graph is stored and its size."""
    from pathlib import Path

    from yoso_ros.errors import InputError
    from yoso_ros.files import write_file
    from yoso_ros.inference.quantize import quantize
    from yoso_ros.inference.segmenter import load_network

    if arguments.frames < 1:
        raise InputError(f"--frames: expected at least 1, found {arguments.frames}")
    network = load_network(arguments.model, arguments.weights)
    frames = read_frames(arguments.calibration, arguments.topic, arguments.frames)
    try:
        folder = quantize(network, frames)
        if arguments.output:
            for path in filter(Path.is_file, folder.iterdir()):
                write_file(Path(arguments.output) / path.name, path.read_bytes())
    except OSError as error:
        raise InputError(f"the graph cannot be written: {error}") from error
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{len(frames)} frames; int8 graph of {size / 1e6:.1f} MB: {folder}")
    print("run it with engine openvino, precision int8; check its accuracy with yoso-ros evaluate --precision int8")
    return 0


def read_frames(source, topic, count):
    """Up to `count` evenly spaced frames of a bag, a folder of images or a video: list of uint8 (h, w, 3) RGB."""
    from tqdm import tqdm

    from yoso_ros.bags import RawImage, open_source
    from yoso_ros.errors import InputError
    from yoso_ros.images.decoding import decode_compressed, decode_image

    recording = open_source(source, topic)
    step = max(1, len(recording) // count)
    frames, unusable = [], 0
    for index, frame in enumerate(tqdm(recording, desc="frames", unit="frame")):
        if index % step:
            continue
        try:
            image = frame.image
            frames.append(decode_image(image) if isinstance(image, RawImage) else decode_compressed(image))
        except InputError:
            unusable += 1
        if len(frames) == count:
            break
    if not frames:
        raise InputError(f"{source}: expected frames, found none ({unusable} could not be decoded)")
    return frames
