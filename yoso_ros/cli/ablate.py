# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros ablate`: train the rows of a table of ablations alike, measure them, and print the table."""

import json
from pathlib import Path

SUMMARY = "Train the rows of a paper's ablation table, each with the same steps and seeds, and print the table."
EXAMPLE = "yoso-ros ablate realtimepan_table3 --data out/synthetic --output out/table3 --iterations 1200 --seeds 1 2"


def add_arguments(parser):
    """Add this subcommand's arguments."""
    parser.add_argument("table", help="name in config/ablations, or the path of a YAML file")
    parser.add_argument("--data", required=True, help="root of the data set, as for yoso-ros train")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="folder of any number of tables; what is finished there is not done again",
    )
    parser.add_argument("--iterations", type=int, help="of every row, instead of the recipe's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2], help="(default: %(default)s)")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="some of the table's (default: all)")
    parser.add_argument("--backbone-weights", help="as for yoso-ros train")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="data-loading processes (default: %(default)s)")


def run(arguments):
    """Train and evaluate what is missing; writes TABLE.md and prints it after every run."""
    from yoso_ros.errors import InputError
    from yoso_ros.files import write_file
    from yoso_ros.training.ablation import load_table, numbers_of, result_table, write_run

    table = load_table(arguments.table)
    rows = arguments.rows or list(table.rows)
    unknown = [row for row in rows if row not in table.rows]
    if unknown:
        raise InputError(f"--rows: expected some of {', '.join(table.rows)}, found {unknown[0]!r}")
    if arguments.iterations is not None and arguments.iterations < 1:
        raise InputError(f"--iterations: expected at least 1, found {arguments.iterations}")
    results = {}
    # Seed by seed, so that a table that is stopped early has every row.
    for seed in dict.fromkeys(arguments.seeds):
        for row in rows:
            recipe = write_run(table, row, seed, arguments.iterations, arguments.output)
            report = recipe.parent / "report.json"
            if not report.is_file():
                _train_and_evaluate(arguments, recipe)
            numbers = numbers_of(json.loads(report.read_text()), table.measures)
            results.setdefault(row, []).append((seed, numbers))
            text = result_table(table, results)
            write_file(arguments.output / f"{table.name}.md", f"{text}\n".encode())
            print(text, flush=True)
    return 0


def _train_and_evaluate(arguments, recipe):
    from yoso_ros.cli import main
    from yoso_ros.errors import InputError

    folder = recipe.parent
    place = ["--data", arguments.data, "--device", arguments.device]
    train = ["train", str(recipe), *place, "--output", str(folder), "--workers", str(arguments.workers)]
    if arguments.backbone_weights:
        train += ["--backbone-weights", arguments.backbone_weights]
    model = ["--model", str(folder / "model.yaml"), "--weights", str(folder / "model.safetensors")]
    evaluate = ["evaluate", *model, *place, "--engine", "torch", "--tasks", "panoptic,instance", "--pictures", "0"]
    evaluate += ["--output", str(folder)]
    for command in (train, evaluate):
        if main(command):
            raise InputError(f"stopped at: yoso-ros {' '.join(command)}")
