# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros data`: exchange of data sets with annotation tools."""

import shlex
import sys
from pathlib import Path

from yoso_ros.errors import InputError

SUMMARY = "Export a data set for an annotation tool, or import the output of one."
EXAMPLE = "yoso-ros data export out/own --format coco-instances --output out/to_cvat"


def add_arguments(parser):
    """Declare the commands and their options."""
    from yoso_ros.data.formats import FORMATS
    from yoso_ros.data.formats.painting import ORDER_HELP

    commands = parser.add_subparsers(dest="data_command", required=True, metavar="COMMAND")
    formats = "; ".join(f"{name}: {f.summary}" for name, f in FORMATS.items())
    text = "write a split of a data set in a format that annotation tools read"
    export = commands.add_parser("export", help=text, description=text, epilog=f"example: {EXAMPLE}")
    export.add_argument("data", help="root of the data set: COCO panoptic layout, Cityscapes, ADE20K...")
    export.add_argument(
        "--polygons", action="store_true", help="coco-instances: write polygons, which lose some pixels"
    )
    export.add_argument("--one-file", action="store_true", help="coco-instances: write stuff to the instances file too")
    text = "convert the output of an annotation tool to a data set, and check it"
    example = "example: yoso-ros data import from_cvat --format coco-instances --label-set own.yaml --output out/own"
    take = commands.add_parser("import", help=text, description=text, epilog=example)
    take.add_argument("data", help="unpacked folder written by the tool; for COCO instances also its JSON file")
    take.add_argument("--label-set", help="name or YAML file (default: the export's, or built from the class names)")
    take.add_argument("--stuff", nargs="+", default=[], metavar="CLASS", help="without a label set: the stuff classes")
    orders = "; ".join(f"{name}: {text}" for name, text in ORDER_HELP.items())
    take.add_argument(
        "--order",
        choices=tuple(ORDER_HELP),
        default="small-on-top",
        help=f"which of overlapping annotations wins. {orders}",
    )
    take.add_argument("--no-crowds", action="store_true", help="coco-instances: ignore iscrowd")
    take.add_argument(
        "--components", action="store_true", help="masks without instances: treat each connected component as one thing"
    )
    take.add_argument("--images", type=Path, metavar="FOLDER", help="the images, if the tool's output lacks them")
    for command in (export, take):
        command.add_argument("--format", required=True, choices=tuple(FORMATS), help=formats)
        command.add_argument("--split", default="train", help="split of the data set (default: %(default)s)")
        command.add_argument("--output", required=True, metavar="DIR", help="folder to write")


def run(arguments):
    """Export or import."""
    return {"export": _export, "import": _import}[arguments.data_command](arguments)


def _export(arguments):
    from tqdm import tqdm

    from yoso_ros.data import open_dataset
    from yoso_ros.data.formats import FORMATS
    from yoso_ros.data.formats.exchange import ExchangeOptions

    dataset, output = open_dataset(arguments.data, arguments.split), Path(arguments.output)
    if output.exists() and any(output.iterdir()):
        raise InputError(f"{output} is not empty; choose another folder or delete it first")
    options = ExchangeOptions(polygons=arguments.polygons, one_file=arguments.one_file)
    lines = FORMATS[arguments.format].export(
        dataset, output, arguments.split, options, lambda indices: tqdm(indices, "export", unit="image")
    )
    for line in lines:
        print(line)
    print(f"{len(dataset)} images: {output}")
    return 0


def _import(arguments):
    from tqdm import tqdm

    from yoso_ros.cli.dataset_check import check_dataset
    from yoso_ros.data.coco_panoptic_writer import CocoPanopticWriter, measured_segments, panoptic_png
    from yoso_ros.data.formats import FORMATS
    from yoso_ros.data.formats.exchange import ExchangeOptions
    from yoso_ros.label_sets import load_label_set

    source, output = Path(arguments.data), Path(arguments.output)
    if not source.exists():
        raise InputError(f"no such folder or file: {source}")
    options = ExchangeOptions(
        label_set=load_label_set(arguments.label_set) if arguments.label_set else None,
        stuff=tuple(arguments.stuff),
        order=arguments.order,
        crowds=not arguments.no_crowds,
        components=arguments.components,
        images=arguments.images,
    )
    label_set, images = FORMATS[arguments.format].read(source, arguments.split, options)
    writer, crowds, hidden = CocoPanopticWriter(output, arguments.split, label_set), 0, 0
    for image in tqdm(images, "import", unit="image"):
        path, segments = Path(image.path), measured_segments(image.ids, image.segments)
        crowds += sum(s["iscrowd"] for s in segments)
        hidden += len(image.segments) - len(segments)
        writer.add(path.name, path.read_bytes(), panoptic_png(image.ids), image.ids.shape, segments)
    if not len(writer):
        raise InputError(f"{source}: expected images of the split {arguments.split}, found none")
    info = {"description": f"imported from {source.name}", "command": f"yoso-ros {shlex.join(sys.argv[1:])}"}
    writer.finish(info | {"format": arguments.format, "order": arguments.order})
    if crowds:
        print(f"{crowds} crowds, which training ignores; see --no-crowds and --components")
    if hidden:
        print(f"{hidden} annotations are completely covered by others (--order {arguments.order})")
    return check_dataset(output, [arguments.split])
