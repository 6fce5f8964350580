# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros ablate`: every shipped table is one that trains, finished runs stay, and the order is that of means."""

import json
from pathlib import Path

import pytest

from yoso_ros import cli
from yoso_ros.errors import InputError
from yoso_ros.models import create_model, load_config
from yoso_ros.resources import config_names
from yoso_ros.training.ablation import load_table, result_table, write_run
from yoso_ros.training.config import load_recipe


@pytest.mark.parametrize("name", config_names("ablations"))
def test_every_row_of_the_shipped_tables_is_a_recipe_of_its_own(name, tmp_path):
    table, seen = load_table(name), []
    for row in table.rows:
        recipe = load_recipe(write_run(table, row, 7, 5, tmp_path))
        config = load_config(recipe.model)
        assert (recipe.seed, recipe.iterations, recipe.validate_every) == (7, 5, 5)
        create_model(config, weights_follow=True)
        seen.append((config, recipe.criterion))
        assert len(table.rows[row]["paper"]) == len(table.measures)
    assert len({str(pair) for pair in seen}) == len(seen)


def test_a_table_is_trained_seed_by_seed_and_goes_on_after_a_stop(tmp_path, capsys, monkeypatch):
    main, commands = cli.main, []

    def pretend(command):
        commands.append(command[0])
        if command[0] == "evaluate":
            folder = Path(command[command.index("--output") + 1])
            recipe = load_recipe(folder / "recipe.yaml")
            value = (50.0 if load_config(recipe.model).two_towers else 40.0) + recipe.seed
            groups = {"All": {"PQ": value}, "Things": {"PQ": -value}, "Stuff": {"PQ": 1.0}}
            (folder / "report.json").write_text(json.dumps({"panoptic_quality": groups}))
        return 0

    monkeypatch.setattr(cli, "main", pretend)
    arguments = ["ablate", "realtimepan_table3", "--data", "d", "--output", str(tmp_path / "out"), "--iterations", "3"]
    arguments += ["--rows", "and mask loss", "one tower", "--seeds", "1", "2"]
    assert main(arguments) == 0 and commands == ["train", "evaluate"] * 4
    out = capsys.readouterr().out
    assert "| one tower | 1, 2 | 41.5 (41.0, 42.0) | -41.5 (-41.0, -42.0) | 1.0 (1.0, 1.0) | 56.8, 48.1, 63.1 |" in out
    text = (tmp_path / "out/realtimepan_table3.md").read_text()
    assert "PQ: the paper's order is seen" in text and "PQ things: the paper's order is not seen" in text
    assert main(arguments) == 0 and len(commands) == 8
    assert main([*arguments, "--rows", "three towers"]) == 2
    assert "expected some of one tower, two towers" in capsys.readouterr().err


def test_tables_in_one_folder_share_their_equal_rows(tmp_path):
    first, second = load_table("dr1mask_table1"), load_table("dr1mask_table4")
    shared = write_run(first, "with A and B", 1, 5, tmp_path)
    assert write_run(second, "vector", 1, 5, tmp_path) == shared
    others = [("vector", 2, 5), ("vector", 1, 6), ("full", 1, 5)]
    assert len({shared, *(write_run(second, *other, tmp_path) for other in others)}) == 4


def test_equal_numbers_of_the_paper_ask_for_no_order():
    table = load_table("dr1mask_table3")
    results = {row: [(1, [1.0, value, 1.0])] for row, value in zip(table.rows, (5.0, 4.0, 6.0, 7.0), strict=True)}
    lines = result_table(table, results).splitlines()
    assert "AP50: the paper's order is seen" in lines and "AP: the paper's order is not seen" in lines


def test_faults_of_a_table_are_named(tmp_path):
    with pytest.raises(InputError, match="unknown table 'x'; known: dr1mask_table1, .*realtimepan_table3"):
        load_table("x")
    path = tmp_path / "own.yaml"
    for text, message in (
        ("recipe: a\nrows: {}\n", "expected recipe, measures and rows"),
        ("recipe: a\nmeasures: [XY]\nrows: {a: {}}\n", "expected some of PQ, .*found 'XY'"),
        ("recipe: a\nmeasures: [PQ]\nrows: {a: {modell: {}}}\n", "a: expected some of model, criterion, paper"),
        ("recipe: a\nmeasures: [PQ]\nrows: {a: {paper: [1, 2]}}\n", "a: paper: expected a number for each of PQ"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            load_table(path)
