# SPDX-License-Identifier: Apache-2.0
"""Tables of ablations: rows that differ from a recipe in a few fields, each trained alike with several seeds."""

import hashlib
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from yoso_ros.configuration import read_yaml
from yoso_ros.errors import InputError
from yoso_ros.files import write_file
from yoso_ros.models import load_config
from yoso_ros.resources import config_file
from yoso_ros.training.config import load_recipe

# Name in a table -> where `report.json` of an evaluation has the number.
MEASURES = {
    "PQ": ("panoptic_quality", "All", "PQ"),
    "PQ things": ("panoptic_quality", "Things", "PQ"),
    "PQ stuff": ("panoptic_quality", "Stuff", "PQ"),
    "AP": ("average_precision", "AP"),
    "AP50": ("average_precision", "AP50"),
    "AP75": ("average_precision", "AP75"),
}
ROW_KEYS = ("model", "criterion", "paper")


@dataclass(frozen=True)
class Table:
    """What a YAML file of config/ablations says.

    Attributes:
        name: of the file. recipe: name or path. measures: of `MEASURES`.
        rows: dict of name to dict: "model" and "criterion", fields that differ, and "paper", a number for each measure.
    """

    name: str
    recipe: str
    measures: list[str]
    rows: dict[str, dict[str, Any]]


def load_table(name):
    """A table by name (config/ablations/NAME.yaml) or by the path of a YAML file.

    Raises:
        InputError: unknown name (lists the known ones), or keys that do not fit.
    """
    path = config_file("ablations", name, "table")
    found = read_yaml(path)
    if set(found) != {"recipe", "measures", "rows"} or not isinstance(found["rows"], dict) or not found["rows"]:
        raise InputError(f"{path}: expected recipe, measures and rows, found {', '.join(map(str, found))}")
    unknown = [m for m in found["measures"] if m not in MEASURES]
    if unknown:
        raise InputError(f"{path}: measures: expected some of {', '.join(MEASURES)}, found {unknown[0]!r}")
    for row, changes in found["rows"].items():
        if not isinstance(changes, dict) or set(changes) - set(ROW_KEYS):
            raise InputError(f"{path}: {row}: expected some of {', '.join(ROW_KEYS)}, found {changes!r}")
        if len(changes.get("paper", found["measures"])) != len(found["measures"]):
            raise InputError(f"{path}: {row}: paper: expected a number for each of {', '.join(found['measures'])}")
    return Table(path.stem, found["recipe"], found["measures"], found["rows"])


def write_run(table, row, seed, iterations, output):
    """Write `model.yaml` and `recipe.yaml` of one training into a folder of its own, and check them.

    The folder is named by a digest of both, so tables that share an output folder share their equal rows. The recipe
    is validated at its end only.

    Returns:
        pathlib.Path of the recipe.
    """
    changes = table.rows[row]
    recipe = read_yaml(config_file("training", table.recipe, "recipe"))
    model = {**read_yaml(config_file("models", recipe["model"], "model")), **changes.get("model", {})}
    iterations = iterations or recipe["iterations"]
    own = {
        **recipe,
        "criterion": {**recipe.get("criterion", {}), **changes.get("criterion", {})},
        "iterations": iterations,
        "validate_every": iterations,
        "seed": seed,
    }
    digest = hashlib.sha256(json.dumps([model, own], sort_keys=True).encode()).hexdigest()[:16]
    folder = Path(output) / f"{recipe['model']}-{digest}"
    own["model"] = str(folder / "model.yaml")
    write_file(folder / "model.yaml", yaml.safe_dump(model).encode())
    load_config(folder / "model.yaml")
    write_file(folder / "recipe.yaml", yaml.safe_dump(own).encode())
    load_recipe(folder / "recipe.yaml")
    return folder / "recipe.yaml"


def numbers_of(report, measures):
    """The measures of an evaluation's report: list of float."""
    values = []
    for measure in measures:
        value = report
        for key in MEASURES[measure]:
            value = value[key]
        values.append(float(value))
    return values


def result_table(table, results):
    """Markdown of the finished runs, and for each measure whether the rows stand in the paper's order.

    Args:
        results: dict of row to list of (seed, list of float in the order of the measures).
    """
    head = [f"| row | seeds | {' | '.join(table.measures)} | paper |", "|---|---|" + "---|" * (len(table.measures) + 1)]
    means = {
        row: [statistics.mean(c) for c in zip(*(n for _, n in runs), strict=True)] for row, runs in results.items()
    }
    lines = []
    for row, runs in results.items():
        cells = []
        for place, mean in enumerate(means[row]):
            each = ", ".join(f"{numbers[place]:.1f}" for _, numbers in runs)
            cells.append(f"{mean:.1f} ({each})" if len(runs) > 1 else f"{mean:.1f}")
        paper = ", ".join(map(str, table.rows[row].get("paper", [])))
        lines.append(f"| {row} | {', '.join(str(seed) for seed, _ in runs)} | {' | '.join(cells)} | {paper} |")
    for place, measure in enumerate(table.measures):
        known = [row for row in results if "paper" in table.rows[row]]
        papers = sorted(known, key=lambda row: table.rows[row]["paper"][place])
        ours = [means[row][place] for row in papers]
        seen = all(
            a < b or table.rows[p]["paper"][place] == table.rows[q]["paper"][place]
            for a, b, p, q in zip(ours, ours[1:], papers, papers[1:], strict=False)
        )
        lines.append(f"\n{measure}: the paper's order is {'seen' if seen else 'not seen'}")
    return "\n".join(head + lines)
