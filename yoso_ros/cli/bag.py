# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros bag`: data sets to recordings, panoptic topics to COCO files, and the contents of a recording."""

from yoso_ros.cli import bag_label, bag_select
from yoso_ros.errors import InputError

SUMMARY = "Make recordings from data sets, select and label frames of recordings, or show the contents of one."
# Commands that have their own file.
COMMANDS = {"select": bag_select, "label": bag_label}
EXAMPLE = "yoso-ros bag from-dataset --data ../camvid --split val --output out/camvid_val"


def add_arguments(parser):
    """Declare the commands and their options."""
    commands = parser.add_subparsers(dest="bag_command", required=True, metavar="COMMAND")
    text = "write a split of a data set as a recording with images and ground truth"
    make = commands.add_parser("from-dataset", help=text, description=text, epilog=f"example: {EXAMPLE}")
    make.add_argument("--data", required=True, help="root of the data set: COCO panoptic layout, Cityscapes, ADE20K...")
    make.add_argument("--split", default="val", help="split of the data set (default: %(default)s)")
    make.add_argument("--output", required=True, metavar="BAG", help="folder of the recording, which must not exist")
    make.add_argument("--format", choices=("mcap", "sqlite3"), default="mcap", help="storage (default: %(default)s)")
    make.add_argument("--rate", type=float, default=10.0, metavar="HZ", help="frames per second (default: 10)")
    make.add_argument(
        "--transport",
        choices=("compressed", "raw"),
        default="compressed",
        help="images as the files' own bytes, or as pixels (default: %(default)s)",
    )
    text = "write panoptic topics of a recording as COCO panoptic JSON and PNG"
    example = "example: yoso-ros bag to-coco my_bag --topics /yoso/panoptic --output out/coco"
    take = commands.add_parser("to-coco", help=text, description=text, epilog=example)
    take.add_argument("bag", help="the recording: a folder, .mcap or .db3")
    take.add_argument(
        "--topics", metavar="PREFIX", help="common prefix of image_raw and segments, such as /yoso/panoptic"
    )
    take.add_argument("--output", required=True, metavar="DIR", help="folder for panoptic.json and panoptic/*.png")
    take.add_argument("--label-set", help="name or YAML file, for the category ids (default: the recording's own)")
    text = "show the topics, types, message counts and rates of a recording, and any losses"
    show = commands.add_parser("info", help=text, description=text, epilog="example: yoso-ros bag info my_bag")
    show.add_argument("bag", help="the recording: a folder, .mcap or .db3")
    text = "say how a recording, video or image folder holds its pictures: raw or compressed"
    kind = commands.add_parser("kind", help=text, description=text, epilog="example: yoso-ros bag kind my_bag")
    kind.add_argument("recording", help="a bag, video, image folder or image")
    kind.add_argument("--topic", help="image topic of a bag (default: the only camera topic)")
    for name, module in COMMANDS.items():
        text = module.SUMMARY
        command = commands.add_parser(name, help=text, description=text, epilog=f"example: {module.EXAMPLE}")
        module.add_arguments(command)


def run(arguments):
    """Run the command."""
    own = {"from-dataset": _from_dataset, "to-coco": _to_coco, "info": _info, "kind": _kind}
    return (own | {name: module.run for name, module in COMMANDS.items()})[arguments.bag_command](arguments)


def _from_dataset(arguments):
    from tqdm import tqdm

    from yoso_ros.bags.from_dataset import write_dataset_bag
    from yoso_ros.data import open_dataset

    if not 0 < arguments.rate <= 1000:
        raise InputError(f"--rate: expected more than 0 and at most 1000 frames per second, found {arguments.rate:g}")
    counts = write_dataset_bag(
        open_dataset(arguments.data, arguments.split),
        arguments.output,
        arguments.format,
        arguments.rate,
        arguments.transport,
        lambda indices: tqdm(indices, "bag", unit="frame"),
    )
    print(f"{counts.pop('frames')} frames with ground truth: {arguments.output}")
    for name, count in counts.items():
        if count:
            print(f"{count} segments: {name.replace('_', ' ')}, because the id rule cannot distinguish them")
    return 0


def _to_coco(arguments):
    from tqdm import tqdm

    from yoso_ros.bags.bag import Bag
    from yoso_ros.bags.labels import label_prefixes
    from yoso_ros.bags.to_coco import write_coco
    from yoso_ros.label_sets import load_label_set

    bag = Bag(arguments.bag)
    prefix = arguments.topics
    if prefix is None:
        prefixes = label_prefixes(bag.topics)
        if len(prefixes) != 1:
            found = ", ".join(prefixes) or "none"
            raise InputError(f"{bag.name}: choose the panoptic topics with --topics; found: {found}")
        prefix = prefixes[0]
    prefix = "/" + prefix.strip("/").removesuffix("/image_raw").removesuffix("/segments")
    label_set = load_label_set(arguments.label_set) if arguments.label_set else None
    length = bag.topics[f"{prefix}/image_raw"].count if f"{prefix}/image_raw" in bag.topics else None
    counts = write_coco(
        bag, prefix, arguments.output, label_set, lambda frames: tqdm(frames, "to-coco", length, unit="frame")
    )
    print(f"{counts['images']} images, {counts['segments']} segments: {arguments.output}/panoptic.json")
    if counts["unpaired"]:
        print(f"{counts['unpaired']} messages had no image or segments with the same stamp and were skipped")
    _print_losses(bag)
    return 0


def _info(arguments):
    from yoso_ros.bags.bag import Bag

    bag = Bag(arguments.bag)
    for name, topic in sorted(bag.topics.items()):
        seconds = (topic.last_ns - topic.first_ns) / 1e9
        rate = f"{(topic.count - 1) / seconds:.1f} Hz" if seconds > 0 else "-"
        print(f"{topic.count:8d}  {rate:>10}  {name}  {topic.type}")
    _print_losses(bag)
    return 0


def _kind(arguments):
    """What replay.launch.py asks for: launch runs in the system's Python, which need not have what reads recordings."""
    from yoso_ros.bags import open_source

    frame = next(iter(open_source(arguments.recording, arguments.topic)), None)
    if frame is None:
        raise InputError(f"{arguments.recording}: expected frames, found none")
    print(frame.kind)
    return 0


def _print_losses(bag):
    for line in bag.losses:
        print(f"lost: {line}")
    for name in bag.unchecked:
        print(f"not checked: {name} has no checksums")
