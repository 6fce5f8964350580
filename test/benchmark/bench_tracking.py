# SPDX-License-Identifier: Apache-2.0
"""`bench_tracking.py`: what track ids cost per frame."""

import sys

from yoso_ros.cli.image_size import height_and_width
from yoso_ros.errors import InputError

SUMMARY = "Time the association of segments over frames beside every pair of masks compared apart."
EXAMPLE = "python test/benchmark/bench_tracking.py --things 10 50 200 --sizes 480x640 1080x1920"


def add_arguments(parser):
    """Add this benchmark's arguments."""
    parser.add_argument("--things", type=int, nargs="+", default=[10, 50, 200], help="in a frame (default: 10 50 200)")
    parser.add_argument(
        "--sizes", nargs="+", default=["480x640", "1080x1920"], metavar="HxW", help="of the maps (default: %(default)s)"
    )
    parser.add_argument("--frames", type=int, default=100, help="of each measurement (default: %(default)s)")
    parser.add_argument(
        "--recording", metavar="BAG", help="instead: STQ, VPQ and id switches on the true masks of a recording"
    )


def run(arguments):
    """Measure every size and number of things, or the quality on a recording, and print the table."""
    if arguments.recording:
        return _true_masks(arguments.recording)
    import numpy as np
    from drifting_things import drifting_things, tracking_times
    from tqdm import tqdm

    from yoso_ros.label_sets import load_label_set

    label_set = load_label_set("synthetic")
    most = 255 * len(label_set.thing_ids)
    if arguments.frames < 3 or not all(1 <= count <= most for count in arguments.things):
        raise InputError(
            f"--frames and --things: expected 3 or more and 1 to {most}, found {arguments.frames} and "
            f"{' '.join(map(str, arguments.things))}"
        )
    sizes = [height_and_width("--sizes", text) for text in arguments.sizes]
    rows = []
    for height, width in sizes:
        for count in arguments.things:
            results = drifting_things(count, height, width, arguments.frames, label_set)
            bar = tqdm(results, f"{width}x{height}, {count}", arguments.frames, unit="frame")
            times, literal = tracking_times(bar)
            rows.append((f"{width}x{height}", count, *np.percentile(times, [50, 95]), min(times), np.median(literal)))
    print("track ids of a frame, from the label map and its segments, ms; the same ids in both ways")
    print(f"{'size':>10} {'things':>7} {'median':>8} {'p95':>8} {'least':>8} {'pair by pair':>13} {'ratio':>8}")
    for size, count, median, high, least, literal in rows:
        print(f"{size:>10} {count:>7} {median:8.2f} {high:8.2f} {least:8.2f} {literal:13.1f} {literal / median:7.0f}x")
    return 0


def _true_masks(path):
    from drifting_things import track_true_masks
    from tqdm import tqdm

    from yoso_ros.bags.bag import Bag
    from yoso_ros.bags.labels import TRUTH_PREFIX, Labels, label_set_of
    from yoso_ros.evaluation.pages.tracking_and_distance import extra_tables

    bag = Bag(path)
    labels, label_set = Labels(bag, TRUTH_PREFIX), label_set_of(bag)
    if label_set is None:
        raise InputError(f"{path}: expected a recording with its label set, as yoso-ros synthesize --bag writes it")
    length = bag.topics[f"{TRUTH_PREFIX}/image_raw"].count
    quality = track_true_masks(tqdm(labels, "track", length, unit="frame"), label_set)
    ((_, _, rows),) = extra_tables({"tracking": quality})
    print(f"{path}: the true masks of {quality['frames']} frames, tracked")
    for name, value in rows:
        print(f"{value:>8}  {name}")
    return 0


if __name__ == "__main__":
    import script

    sys.exit(script.main(sys.modules["__main__"]))
