# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros bag label`: labels predicted by a model, as a data set that people correct and `yoso-ros train` reads."""

import shlex
import shutil
import sys
from pathlib import Path

from yoso_ros.cli.segment import add_model_arguments, load_from_arguments
from yoso_ros.cli.shared_out import joined, model_settings
from yoso_ros.errors import InputError

SUMMARY = "Label frames with a model and write them as a COCO panoptic data set with the images."
EXAMPLE = "yoso-ros bag label out/select --model yoso_r50_coco --classes my_classes.yaml --flip --output out/own"
PIECE = 32  # frames labelled at a time; an interruption loses at most this many


def add_arguments(parser):
    """Declare the options."""
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="output of `bag select`, folders of images, recordings, videos"
    )
    parser.add_argument("--output", required=True, metavar="DATA", help="root of the data set")
    parser.add_argument("--split", default="train", help="split to write; must not exist yet (default: %(default)s)")
    parser.add_argument(
        "--min-confidence", type=float, default=0.5, metavar="P",
        help="pixels with lower confidence stay void (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--classes", metavar="YAML", help="mapping from the model's classes to your own; see docs/own_data.md"
    )
    parser.add_argument("--flip", action="store_true", help="combine the results for the image and its mirror image")
    parser.add_argument(
        "--shortest-edge", type=int, metavar="PIXELS", help="size of the model's input (default: the model's own)"
    )
    parser.add_argument("--topic", help="image topic, if there are several cameras")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th frame of recordings (default: 1)")
    add_model_arguments(parser)


def run(arguments):
    """Label the frames; after an interruption, running the command again continues where it stopped."""
    if not 0 <= arguments.min_confidence <= 1:
        raise InputError(f"--min-confidence: expected 0 to 1, found {arguments.min_confidence:g}")
    if arguments.every < 1:
        raise InputError(f"--every: expected 1 or more, found {arguments.every}")
    with joined(arguments):
        return _label(arguments)


def _label(arguments):
    from tqdm import tqdm

    from yoso_ros.data.coco_panoptic_writer import CocoPanopticWriter
    from yoso_ros.images.decoding import decode_picture
    from yoso_ros.labelling.chosen_frames import image_file
    from yoso_ros.labelling.class_mapping import keep_classes, load_class_mapping
    from yoso_ros.labelling.prelabels import label_frames, unpack
    from yoso_ros.labelling.recordings import FOLDER, parts_of
    from yoso_ros.labelling.sources import open_label_sources
    from yoso_ros.labelling.views import segment_with_flip
    from yoso_ros.processes import is_first

    segmenter, output = _at_size(load_from_arguments(arguments), arguments.shortest_edge), Path(arguments.output)
    labels = segmenter.label_set
    mapping = load_class_mapping(arguments.classes, labels) if arguments.classes else keep_classes(labels)
    writer = CocoPanopticWriter(output, arguments.split, mapping.label_set)
    sources = open_label_sources(arguments.sources, arguments.topic, arguments.every)
    pieces = [(n, i) for n, source in enumerate(sources) for i in range(0, len(source), PIECE)]
    bar = tqdm(total=sum(map(len, sources)), desc="label", unit="frame", disable=not is_first())

    def segment(image):
        bar.update()
        return segment_with_flip(segmenter, image) if arguments.flip else segmenter(image)

    def work(place, _):
        number, first = pieces[place]
        source = sources[number]
        frames = source.read(range(first, min(first + PIECE, len(source))))
        return label_frames(
            frames,
            segment,
            mapping,
            arguments.min_confidence,
            decode_picture,
            lambda image: image_file(image, decode_picture),
        )

    settings = ["label", arguments.min_confidence, arguments.flip, arguments.every, arguments.topic, arguments.split]
    settings += [repr(mapping.label_set), mapping.table.tolist(), *model_settings(segmenter, arguments.weights)]
    names = [arguments.sources[number] for number, _ in pieces]
    parts, faults = parts_of(names, work, output, settings, [first for _, first in pieces])
    bar.close()
    if not is_first():
        return 0
    counts, void = unpack([p for p in parts if p], writer)
    info = {"description": f"labels by {segmenter.config.name}", "command": f"yoso-ros {shlex.join(sys.argv[1:])}"}
    writer.finish(info | {"min_confidence": arguments.min_confidence, "backend": segmenter.backend})
    shutil.rmtree(output / FOLDER)
    for line in dict.fromkeys(faults):
        print(f"lost: {line}")
    if mapping.dropped:
        print(f"void, because the mapping has no class for them: {', '.join(mapping.dropped)}")
    for label in mapping.label_set.classes:
        print(f"{counts[label.dataset_id]:8d}  {label.name}")
    print(f"{len(writer)} images, {100 * void:.1f} % of the pixels void: {writer.path}")
    return 0


def _at_size(segmenter, shortest_edge):
    import dataclasses

    from yoso_ros.inference import Segmenter

    if shortest_edge is None:
        return segmenter
    if shortest_edge < 1:
        raise InputError(f"--shortest-edge: expected 1 or more, found {shortest_edge}")
    config = segmenter.config
    longest = round(config.longest_edge * shortest_edge / config.shortest_edge)
    return Segmenter(dataclasses.replace(config, shortest_edge=shortest_edge, longest_edge=longest), segmenter.engine)
