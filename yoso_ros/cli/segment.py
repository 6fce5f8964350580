# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros segment`: image files in, panoptic PNGs, overlays and segment lists out."""

import dataclasses
import json
import sys
from pathlib import Path

from yoso_ros.errors import InputError

SUMMARY = "Segment image files."
EXAMPLE = "yoso-ros segment street.jpg more/*.png --output out/segment"


def add_arguments(parser):
    """Add this subcommand's arguments."""
    parser.add_argument("images", nargs="+", help="image files")
    parser.add_argument("--output", default="out/segment", help="folder for the results (default: %(default)s)")
    add_model_arguments(parser)


def add_model_arguments(parser):
    """The arguments of `load_segmenter`, for every subcommand that runs a model."""
    parser.add_argument(
        "--model",
        default="yoso_mobilenetv2_camvid",
        help="name, YAML, hf:ORG/NAME or checkpoint folder (default: %(default)s)",
    )
    parser.add_argument("--weights", help="checkpoint (default: the one that comes with the model)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default: %(default)s)")
    parser.add_argument("--engine", default="auto", help="auto, openvino, onnxruntime, torch (default: %(default)s)")
    parser.add_argument("--precision", default="auto", help="auto, fp32, bf16, fp16, int8 (default: %(default)s)")


def load_from_arguments(arguments):
    """The Segmenter that the arguments of `add_model_arguments` describe."""
    from yoso_ros import load_segmenter

    return load_segmenter(arguments.model, arguments.weights, arguments.device, arguments.engine, arguments.precision)


def run(arguments):
    """Segment the files; writes NAME_panoptic.png (16-bit), NAME_overlay.png and NAME_segments.json for each."""
    import cv2
    from tqdm import tqdm

    from yoso_ros.files import write_file
    from yoso_ros.images.encoded import read_image
    from yoso_ros.images.overlay import build_palette, overlay_image

    paths = [Path(p) for p in arguments.images]
    _check_names(paths)
    segmenter = load_from_arguments(arguments)
    palette = build_palette(segmenter.label_set)
    output, done = Path(arguments.output), 0
    for path in tqdm(paths, unit="image", disable=len(paths) < 3):
        try:
            frame = read_image(path)
        except InputError as error:
            tqdm.write(f"left out: {error}", sys.stderr)
            continue
        result = segmenter(frame)
        overlay = overlay_image(frame, result.panoptic, palette, segments=result.segments)
        write_file(output / f"{path.stem}_panoptic.png", cv2.imencode(".png", result.panoptic)[1].tobytes())
        write_file(output / f"{path.stem}_overlay.png", cv2.imencode(".png", overlay[..., ::-1])[1].tobytes())
        segments = [dataclasses.asdict(segment) for segment in result.segments]
        write_file(output / f"{path.stem}_segments.json", json.dumps(segments, indent=1))
        done += 1
    print(f"{done} of {len(paths)} images with {segmenter.backend}: {output}")
    return 0 if done == len(paths) else 2


def _check_names(paths):
    """Raise `InputError` if two results would have the same name."""
    first = {}
    for path in paths:
        other = first.setdefault(path.stem, path)
        if other is not path:
            raise InputError(
                f"{other} and {path} would both become {path.stem}_panoptic.png; expected names that differ without "
                "their suffix: segment them separately, each with its own --output"
            )
