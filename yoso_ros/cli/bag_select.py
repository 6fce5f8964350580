# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros bag select`: the frames most worth labelling, with a contact sheet that shows the reasons."""

import shlex
import sys
from pathlib import Path

from yoso_ros.cli.segment import add_model_arguments, load_from_arguments
from yoso_ros.cli.shared_out import joined, model_settings, watched
from yoso_ros.errors import InputError

SUMMARY = "Select the frames of recordings that are most worth labelling: uncertain, new, or with rare classes."
EXAMPLE = "yoso-ros bag select monday_bag tuesday_bag --count 100 --output out/select"


def add_arguments(parser):
    """Declare the options."""
    parser.add_argument("bags", nargs="+", metavar="BAG", help="recordings (also folders of images, videos)")
    parser.add_argument("--count", type=int, default=50, help="frames to select (default: %(default)s)")
    parser.add_argument("--output", default="out/select", help="folder for the results (default: %(default)s)")
    parser.add_argument("--topic", help="image topic, if there are several cameras")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="consider every N-th frame (default: 1)")
    parser.add_argument(
        "--labelled", nargs="+", default=[], metavar="DATA", help="data sets or folders of images already labelled"
    )
    parser.add_argument(
        "--second-model", metavar="MODEL", help="another model; disagreement makes a frame worth labelling"
    )
    parser.add_argument("--second-weights", metavar="FILE", help="its checkpoint (default: the one that comes with it)")
    parser.add_argument(
        "--same-look", type=float, metavar="STEPS",
        help="images that differ by less than this, out of 255, look the same; only one is selected (default: 3)",
    )  # fmt: skip
    add_model_arguments(parser)


def run(arguments):
    """Select and write images/, selection.json and contact_sheet.html; running it again continues where it stopped."""
    from yoso_ros.labelling.candidates import SAME_LOOK

    arguments.same_look = SAME_LOOK if arguments.same_look is None else arguments.same_look
    for name, least in (("count", 1), ("every", 1), ("same_look", 0)):
        if getattr(arguments, name) < least:
            raise InputError(f"--{name.replace('_', '-')}: expected {least} or more, found {getattr(arguments, name)}")
    with joined(arguments):
        return _select(arguments)


def _select(arguments):
    from yoso_ros import load_segmenter
    from yoso_ros.bags import open_source
    from yoso_ros.images.decoding import decode_picture
    from yoso_ros.labelling.recordings import parts_of
    from yoso_ros.labelling.select import joined_candidates, labelled_looks, recording_candidates, write_selection
    from yoso_ros.processes import is_first

    segmenter, second, output = load_from_arguments(arguments), None, Path(arguments.output)
    settings = [arguments.count, arguments.every, arguments.topic, arguments.same_look]
    settings += model_settings(segmenter, arguments.weights)
    if arguments.second_model:
        second = load_segmenter(
            arguments.second_model, arguments.second_weights, arguments.device, arguments.engine, arguments.precision
        )
        settings += model_settings(second, arguments.second_weights)

    def open_recording(path):
        return open_source(path, arguments.topic)

    def work(number, name):
        return recording_candidates(
            number,
            open_recording(name),
            decode_picture,
            segmenter,
            count=arguments.count,
            same_look=arguments.same_look,
            second=second,
            every=arguments.every,
            watch=watched(is_first()),
        )

    parts, faults = parts_of(arguments.bags, work, output, settings)
    if not is_first():
        return 0
    pool, lost = joined_candidates(parts, arguments.count, arguments.same_look)
    labelled = labelled_looks(_labelled_images(arguments.labelled), segmenter)
    facts = {"command": f"yoso-ros {shlex.join(sys.argv[1:])}", "faults": faults + lost}
    sources = [Path(name) for name in arguments.bags]
    selection = write_selection(
        output, pool, arguments.count, segmenter, open_recording, sources, decode_picture, facts, labelled
    )
    for line in selection["faults"]:
        print(f"lost: {line}")
    chosen = len(selection["chosen"])
    print(f"{chosen} of {pool.frames} frames of {len(sources)} recordings: {output}/contact_sheet.html")
    if chosen < arguments.count:
        print("all other frames look like one of these or like one that is already labelled")
    return 0


def _labelled_images(folders):
    """The images of data sets, from their folder `images` if they have one."""
    from yoso_ros.bags.pictures import IMAGE_SUFFIXES
    from yoso_ros.images.encoded import read_image

    for folder in map(Path, folders):
        root = folder / "images" if (folder / "images").is_dir() else folder
        paths = sorted(p for p in root.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        if not paths:
            raise InputError(f"--labelled: expected images below {root}, found none")
        yield from map(read_image, paths)
