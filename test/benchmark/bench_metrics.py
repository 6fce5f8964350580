# SPDX-License-Identifier: Apache-2.0
"""`bench_metrics.py`: panoptic quality of an image beside its rules read literally."""

import sys
import time

from yoso_ros.cli.image_size import height_and_width
from yoso_ros.errors import InputError

SUMMARY = (
    "Time panoptic quality per image beside its rules read literally (unique pairs of ids), interleaved in one run."
)
EXAMPLE = "python test/benchmark/bench_metrics.py --sizes 480x640 1024x2048"


def add_arguments(parser):
    """Add this benchmark's arguments."""
    parser.add_argument(
        "--sizes", nargs="+", default=["480x640", "1024x2048"], metavar="HxW", help="of the maps (default: %(default)s)"
    )
    parser.add_argument("--pairs", type=int, default=8, help="images of each size (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each image (default: %(default)s)")


def run(arguments):
    """Measure every size, check that the counts agree, print the table."""
    import numpy as np
    from reference_quality import reference_counts
    from tqdm import tqdm

    from yoso_ros.evaluation import PanopticQuality
    from yoso_ros.label_sets import load_label_set

    if min(arguments.pairs, arguments.rounds) < 1:
        raise InputError(f"--pairs and --rounds: expected at least 1, found {arguments.pairs} and {arguments.rounds}")
    sizes = [height_and_width("--sizes", text) for text in arguments.sizes]
    label_set = load_label_set("synthetic")
    quality = PanopticQuality(label_set.coco_categories())
    rows = []
    for height, width in sizes:
        pairs = list(
            tqdm(_pairs(arguments.pairs, height, width, label_set), desc=f"{height}x{width}", total=arguments.pairs)
        )
        for pair in pairs:
            _check_counts(quality.count(*pair), reference_counts(*pair), quality.categories)
        spent = {reference_counts: [], quality.count: []}
        for _ in range(arguments.rounds):
            for way, times in spent.items():
                for pair in pairs:
                    started = time.perf_counter()
                    way(*pair)
                    times.append(1e3 * (time.perf_counter() - started))
        segments = [len(pair[3]) for pair in pairs]
        rows.append(
            (f"{height}x{width}", float(np.mean(segments)), *(float(np.median(times)) for times in spent.values()))
        )
    print("panoptic quality of an image, from id maps to the counts per category, median ms; same counts in both")
    print(f"{'maps':>10} {'segments':>9} {'literal':>9} {'here':>8} {'ratio':>7}")
    for size, segments, literal, here in rows:
        print(f"{size:>10} {segments:9.1f} {literal:9.1f} {here:8.2f} {literal / here:6.1f}x")
    return 0


def _check_counts(counts, literal, categories):
    import numpy as np

    expected = np.array([literal.get(category["id"], [0.0] * 4) for category in categories])
    if np.abs(expected - counts).max() > 1e-9:
        raise AssertionError("the two ways do not give the same counts")


def _pairs(count, height, width, label_set):
    """Rendered scenes as truth, and as prediction what the camera saw a quarter of a second later."""
    import numpy as np

    from yoso_ros.data.synthetic import Renderer, random_scene
    from yoso_ros.data.synthetic.dataset import coco_png, segments_info

    renderer = Renderer(width, height)
    for number in range(count):
        scene, pair = random_scene([0, number]), []
        for moment in (10.25, 10.0):
            panoptic = renderer.render(scene, moment).panoptic
            red, green, _ = coco_png(panoptic, label_set).astype(np.int32).transpose(2, 0, 1)
            pair += [red + 256 * green, segments_info(panoptic, label_set)]
        yield pair


if __name__ == "__main__":
    import script

    sys.exit(script.main(sys.modules["__main__"]))
