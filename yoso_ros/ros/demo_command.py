# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros demo`: play a recording to the node over DDS and show what it publishes."""

import signal

from yoso_ros.errors import InputError

SUMMARY = "Start the node, play a recording to it over DDS, and write its output as video, contact sheet and tables."
EXAMPLE = "yoso-ros demo --source my_bag --output out/demo"

SYNTHETIC_MODEL, STREET_MODEL = "dr1mask_mobilenetv2_synthetic", "yoso_mobilenetv2_camvid"
SHORT_SOURCE = 300  # frames; up to here every frame is processed unless --real-time is given


def add_arguments(parser):
    """Declare the options."""
    parser.add_argument(
        "--source",
        default="synthetic",
        metavar="PATH",
        help="a bag (rosbag2 mcap or sqlite3), a folder of images, a video, an image, or synthetic: the rendered scene "
        "(default)",
    )
    parser.add_argument("--topic", help="image topic of a bag with several cameras")
    parser.add_argument("--output", default="out/demo", metavar="DIR", help="folder for the results (default out/demo)")
    parser.add_argument("--model", help="a name in config/models or a YAML file (default: fits the source)")
    parser.add_argument("--weights", metavar="FILE", help="checkpoint (default: the one shipped with the model)")
    parser.add_argument(
        "--rate", type=float, default=0.0, metavar="HZ", help="frames per second (default: as recorded)"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--frames", type=int, metavar="N", help="stop after this many frames")
    length.add_argument("--seconds", type=float, metavar="S", help="stop after this many seconds of the source")
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument(
        "--every-frame", action="store_true", help=f"wait for each answer (default up to {SHORT_SOURCE} frames)"
    )
    pace.add_argument(
        "--real-time",
        action="store_true",
        help="send at the source's rate; a slow node drops frames (default for longer sources)",
    )


def choose_model(source):
    """Model for a source without --model: (name, remark for the user or None)."""
    from yoso_ros.resources import checkpoint_path

    if source == "synthetic" and checkpoint_path(SYNTHETIC_MODEL).is_file():
        return SYNTHETIC_MODEL, None
    return (
        STREET_MODEL,
        f"no --model given: using {STREET_MODEL}, trained on street scenes; elsewhere its labels mean little",
    )


def frame_count(arguments, source):
    """Frames to play: int."""
    rate = arguments.rate or source.rate_hz
    limit = arguments.frames if arguments.frames is not None else len(source)
    if arguments.seconds is not None:
        limit = max(1, round(arguments.seconds * rate))
    return min(limit, len(source))


def run(arguments):
    """Run the demonstration and print the summary and the paths of the files."""
    from yoso_ros.bags import open_source

    for name in ("frames", "seconds"):
        value = getattr(arguments, name)
        if value is not None and value <= 0:
            raise InputError(f"--{name}: expected more than 0, found {value:g}")
    if not 0 <= arguments.rate <= 1000:
        raise InputError(f"--rate: expected 0 (as recorded) to 1000 frames per second, found {arguments.rate:g}")
    source = open_source(arguments.source, arguments.topic)
    count = frame_count(arguments, source)
    try:
        from yoso_ros.ros.runs.demo import Run, play_and_record
    except ImportError as error:
        raise InputError(f"the demonstration needs ROS 2 and the compiled messages: {error}; see README.md") from error
    from yoso_ros.demo.report import table
    from yoso_ros.models import load_config

    model, remark = (arguments.model, None) if arguments.model else choose_model(arguments.source)
    every_frame = arguments.every_frame or (count <= SHORT_SOURCE and not arguments.real_time)
    print(
        f"{count} of {len(source)} frames of {source.name}, {arguments.rate or source.rate_hz:g} frames/s", flush=True
    )
    if every_frame:
        print("each answer is awaited, so no frame is dropped; --real-time plays at the source's own rate")
    if remark:
        print(remark, flush=True)
    options = Run(
        source=source,
        count=count,
        model=model,
        weights=arguments.weights,
        label_set=load_config(model).label_set,
        output=arguments.output,
        rate_hz=arguments.rate,
        every_frame=every_frame,
    )
    # Both act like Ctrl-C, so that the node ends too; a shell makes processes in the background ignore SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    summary = play_and_record(options)
    print("\n".join(table(summary)))
    frames = summary["frames"]
    if frames["dropped"]:
        print(
            f"{frames['dropped']} of {frames['sent']} frames were dropped: the network is slower than the source; "
            "--every-frame processes all"
        )
    for line in source.losses:
        print(f"lost in the recording: {line}")
    for name in summary["files"]:
        print(f"{arguments.output}/{name}")
    unsent = frames["asked_for"] - frames["sent"]
    if unsent:
        print(f"{unsent} of {frames['asked_for']} frames could not be read and were not sent")
    return 0 if frames["answered"] and not unsent else 1
