# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros benchmark soak`: hours of frames at the node, good and bad, while everything about it changes."""

from pathlib import Path

from yoso_ros.cli.image_size import height_and_width
from yoso_ros.files import write_json

SUMMARY = "Frames for hours, 1 in 1000 of them bad, with changes of parameters, sizes, camera and lifecycle between."
EXAMPLE = "yoso-ros benchmark soak --minutes 180 --frames 1e6 --rate 100 --output soak.json"


def add_arguments(parser):
    """Add this benchmark's arguments."""
    parser.add_argument("--minutes", type=float, default=30.0, help="length (default: %(default)s)")
    parser.add_argument(
        "--frames", type=float, default=float("inf"), metavar="N", help="end earlier, when N have been sent"
    )
    parser.add_argument("--rate", type=float, default=100.0, metavar="HZ", help="of the camera (default: %(default)s)")
    parser.add_argument(
        "--model", default="constant", help='a model, or "constant" for a node without a network (default: %(default)s)'
    )
    parser.add_argument(
        "--sizes", nargs="+", default=["48x64", "96x128"], metavar="HxW", help="of the images, in turn (default: two)"
    )
    parser.add_argument(
        "--stretch", type=float, default=10.0, metavar="S", help="seconds between two changes (default: %(default)s)"
    )
    parser.add_argument("--bad-every", type=int, default=1000, metavar="N", help="frames for a bad one (default: 1000)")
    parser.add_argument("--output", type=Path, help="also write the numbers to this JSON file, after each stretch")
    parser.add_argument("--log", type=Path, help="keep what the node logs in this file")


def run(arguments):
    """Soak and print the account; the exit code is 1 when something did not hold."""
    from tqdm import tqdm

    from yoso_ros.benchmark.soak import check_options, report, soak

    options = arguments.minutes, arguments.stretch, arguments.rate, arguments.bad_every
    check_options(*options, arguments.frames)
    sizes = ["{}x{}".format(*height_and_width("--sizes", size)) for size in arguments.sizes]
    samples = []
    with tqdm(
        total=arguments.minutes, desc="soak", unit="min", bar_format="{desc}: {n:.1f} of {total} min {postfix}"
    ) as bar:

        def on_sample(sample):
            samples.append(sample)
            bar.update(sample["minutes"] - bar.n)
            bar.set_postfix(sent=sample["sent"], wrong=sample["wrong"], unaccounted=sample["unaccounted"])
            if arguments.output:  # a soak that is ended leaves what it has
                write_json(arguments.output, report(samples, 0))

        minutes, stretch, rate, bad_every = options
        found = soak(
            arguments.model, minutes, stretch, rate, sizes, bad_every, arguments.log, on_sample, arguments.frames
        )
    if arguments.output:
        write_json(arguments.output, found)
    totals = found["totals"]
    print(f"{arguments.model}, {found['minutes']:.1f} minutes at {arguments.rate:g} Hz, {' and '.join(sizes)}")
    print(
        f"sent {totals['sent']}, and {totals['in_transitions']} while something changed, {totals['bad']} of all bad; "
        f"not accounted for: {totals['unaccounted']}"
    )
    names = ("received", "processed", "dropped", "failed", "lost")
    print("the node's count: " + ", ".join(f"{name} {totals[name]}" for name in names))
    print(f"answers {totals['answers']}, compared {totals['compared']}, wrong {totals['wrong']}")
    print(
        f"{totals['lifecycle_rounds']} rounds of the lifecycle, {totals['parameter_changes']} changes of parameters, "
        f"{totals['size_changes']} of the size, the camera came back {totals['returns']} times"
    )
    for name, values in found["changes"].items():
        warm, last, most = (values[when] for when in ("warm", "last", "most"))
        print(f"{name}: {warm:.0f} after the warm-up, {last:.0f} at the end, {most:.0f} most")
    slope = found["memory_slope_mb_per_minute"]
    print("memory slope: " + ("too short to tell" if slope is None else f"{slope:+.3f} MB a minute"))
    print(f"errors caught in the node: {totals['caught']}; lines in its log: {found['log_lines']}")
    return 0 if found["held"] else 1
