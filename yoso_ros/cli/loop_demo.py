# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros loop-demo`: from a recording to a better model, every step the command that one's own robot would need."""

import json
import os
import shlex
import time
from pathlib import Path

from yoso_ros.errors import InputError

SUMMARY = "The whole loop on rendered scenes: record, choose, label, correct, train, prove on the next recording."
EXAMPLE = "yoso-ros loop-demo --output out/loop"

MODEL = "yoso_mobilenetv2_synthetic"  # knows the world "yard"
OWN_MODEL = f"{MODEL}_own"  # what `train` calls a model with the classes of a data set
TEACHER_EDGE = 480  # pixels: the teacher is the same model on twice the size and on the mirror image too
PICTURES = 4
DAYS = {"train": "monday", "val": "tuesday"}  # the recording whose frames a split is chosen from
# Recording to the number of its drives (None: as asked for), frames of each, and world.
DRIVES = {
    "monday": (None, 8, "dusk"),
    "tuesday": (8, 4, "dusk"),
    "wednesday": (15, 4, "dusk"),
    "yard": (15, 4, "yard"),
}
SAME_LOOK = "1.5"  # in the dark pictures differ by less


def add_arguments(parser):
    """Declare the options."""
    parser.add_argument("--output", default="out/loop", metavar="DIR", help="new or empty folder (default: out/loop)")
    parser.add_argument("--drives", type=int, default=12, metavar="N", help="drives on Monday (default 12)")
    parser.add_argument("--count", type=int, default=60, metavar="N", help="frames to choose and label (default 60)")
    parser.add_argument("--iterations", type=int, default=300, metavar="N", help="of the training (default 300)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")


def run(arguments):
    """Go through the steps; writes loop.html, loop.json and what every step leaves."""
    output = Path(arguments.output)
    for name in ("drives", "count", "iterations"):
        if getattr(arguments, name) < 1:
            raise InputError(f"--{name}: expected 1 or more, found {getattr(arguments, name)}")
    if output.exists() and any(output.iterdir()):
        raise InputError(f"--output: expected a new or an empty folder, found files in {output}")
    done, facts = [], {}
    for title, why, work in _steps(output, arguments, facts):
        print(f"\n{len(done) + 1}. {title}", flush=True)
        begin, mark = time.perf_counter(), _processor_time()
        commands = [_run(command) for command in work] if isinstance(work, list) else work()
        seconds, processor = time.perf_counter() - begin, _processor_time() - mark
        done.append({"title": title, "why": why, "commands": commands, "seconds": seconds, "processor_s": processor})
    _report(output, done, facts)
    return 0


def _steps(output, arguments, facts):
    """(title, why, list of commands or callable that gives lines for the page) of each step."""
    bags = {name: str(output / name) for name in DRIVES}
    size = ["--size", "320x240", "--output", str(output / "world")]
    device = ["--device", arguments.device]
    own = ["--model", str(output / f"train/{OWN_MODEL}.yaml")]
    own += ["--weights", str(output / f"train/{OWN_MODEL}.safetensors")]
    model, data, tool = ["--model", MODEL], str(output / "own"), output / "tool"

    def evaluate(bag, model, folder):
        return ["evaluate-bag", bags[bag], *model, *device, "--save-labels", "--output", str(output / folder)]

    def choose(split, count):
        folder = ["--same-look", SAME_LOOK, "--output", str(output / f"select_{split}")]
        return ["bag", "select", bags[DAYS[split]], *model, *device, "--count", str(count), *folder]

    def label(split):
        teacher = [*model, *device, "--shortest-edge", str(TEACHER_EDGE), "--flip"]
        return ["bag", "label", str(output / f"select_{split}"), *teacher, "--split", split, "--output", prelabels]

    prelabels, splits = str(output / "prelabels"), ("train", "val")
    yield (
        "Record",
        "Three days in a world that the model has not seen, and its own world for comparison; each drive elsewhere.",
        [
            [
                "synthesize",
                *size,
                "--world",
                world,
                "--split",
                name,
                "--count",
                str((drives or arguments.drives) * each),
            ]
            + ["--frames-per-scene", str(each), "--rate", "1", "--seed", str(seed), "--bag", bags[name]]
            for seed, (name, (drives, each, world)) in enumerate(DRIVES.items(), start=501)
        ],
    )
    yield (
        "Measure the model as it is",
        "On the recording of Wednesday, which nothing below looks at, and in the world that it knows.",
        [evaluate("wednesday", model, "before"), evaluate("yard", model, "before_yard")],
    )
    yield (
        "Choose frames",
        "The most uncertain, new and rare ones: of Monday to train on, of Tuesday to validate on.",
        [choose("train", arguments.count), choose("val", -(-arguments.count // 4))],
    )
    yield (
        "Label them with a teacher",
        "Here the same model, slower: twice the size, and the mirror image too. Unsure pixels stay void.",
        [label(split) for split in splits],
    )
    yield (
        "Export for an annotation tool",
        "Colour masks, as CVAT takes them.",
        [
            ["data", "export", prelabels, "--format", "voc-masks", "--split", split, "--output", str(tool / split)]
            for split in splits
        ],
    )
    yield (
        "Correct",
        "A person would do this; here the exact truth of the rendered world does, for the chosen frames only.",
        lambda: [_correct(output, prelabels, split, facts) for split in splits],
    )
    yield (
        "Import and check",
        "Every fault of the data set is found before the training.",
        [
            ["data", "import", f"{tool}/{split}_corrected", "--format", "voc-masks", "--split", split, "--output", data]
            for split in splits
        ]
        + [["train", "--check", data]],
    )
    yield (
        "Train",
        "From the weights as they are, with the classes of the data set.",
        [
            ["train", "finetune_minutes", "--data", data, "--weights", MODEL, *device]
            + ["--iterations", str(arguments.iterations), "--output", str(output / "train")]
        ],
    )
    yield (
        "Measure the new model",
        "On the same two recordings.",
        [evaluate("wednesday", own, "after"), evaluate("yard", own, "after_yard")],
    )
    yield (
        "Prove it",
        "Differences with 95 % intervals.",
        [
            [
                "compare",
                str(output / f"before{end}"),
                str(output / f"after{end}"),
                "--output",
                str(output / f"compare{end}"),
            ]
            for end in ("", "_yard")
        ],
    )


def _run(command):
    """Run a subcommand as the user would; returns its line."""
    from yoso_ros.cli import main

    line = f"yoso-ros {shlex.join(command)}"
    print(f"$ {line}", flush=True)
    if main(command):
        raise InputError(f"this step failed: {line}")
    return line


def _correct(output, prelabels, split, facts):
    from yoso_ros.data import open_dataset
    from yoso_ros.data.formats import FORMATS
    from yoso_ros.data.formats.exchange import ExchangeOptions
    from yoso_ros.labelling.correction import Corrected

    corrected = Corrected(open_dataset(prelabels, split), open_dataset(output / "world", DAYS[split]))
    FORMATS["voc-masks"].export(corrected, output / f"tool/{split}_corrected", split, ExchangeOptions())
    facts[split] = {"frames": len(corrected), "pixels_changed": corrected.share_to_change()}
    line = f"{len(corrected)} frames of {split}: {100 * facts[split]['pixels_changed']:.1f} % of the pixels changed"
    print(line)
    return line


def _processor_time():
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _with_nan(content):
    """What a JSON file says, with NaN again where it has null."""
    if isinstance(content, dict):
        return {key: _with_nan(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_with_nan(value) for value in content]
    return float("nan") if content is None else content


def _report(output, steps, facts):
    from yoso_ros.cli.compare import comparison_pictures
    from yoso_ros.evaluation.pages.comparison import verdict
    from yoso_ros.evaluation.pages.loop import html_page
    from yoso_ros.files import write_file, write_json

    comparisons = {
        world: _with_nan(json.loads((output / f"compare{end}/comparison.json").read_bytes()))
        for world, end in (("new", ""), ("old", "_yard"))
    }
    history = json.loads((output / "train/history.json").read_bytes())
    loop = {"steps": steps, "corrected": facts, "history": history}
    loop |= {world: {"verdict": verdict(c), "measures": c["measures"]} for world, c in comparisons.items()}
    pictures = comparison_pictures(comparisons["new"], (output / "before", output / "after"), PICTURES)
    write_json(output / "loop.json", loop)
    write_file(output / "loop.html", html_page(loop, pictures))
    print(f"\nThe new world: {loop['new']['verdict']}\nThe old world: {loop['old']['verdict']}")
    print(f"{output}/loop.html")
