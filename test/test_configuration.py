# SPDX-License-Identifier: Apache-2.0
"""Hostile and mistaken YAML files: one line that says what was expected, within a moment."""

import pytest

from yoso_ros.configuration import read_yaml
from yoso_ros.errors import InputError
from yoso_ros.label_sets import load_label_set
from yoso_ros.models import load_config
from yoso_ros.training.config import load_recipe

MODEL = "architecture: yoso\nlabel_set: camvid\n"
RECIPE = "model: yoso_r50_coco\niterations: 5\naugmentation: {crop_height: 64, crop_width: 64}\n"


def written(folder, content, name="mine.yaml"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: \xff\xfe", "expected text in UTF-8, found byte 0xff"),
        ("a: [" * 5000, "nested too deeply|not valid YAML"),
        ("3: x\n", "expected keys that are text, found 3"),
        ("- a\n", "expected a mapping of keys to values, found list"),
        ("when: 2026-13-45\n", "not valid YAML"),
        (b"x: '" + bytes(5 << 20) + b"'", "at most 4194304 bytes, found 5242885"),
    ],
)
def test_faults_of_a_file_are_one_line(tmp_path, content, message):
    with pytest.raises(InputError, match=message) as error:
        read_yaml(written(tmp_path, content))
    assert len(str(error.value)) < 600 and "\n" not in str(error.value)


def test_a_bomb_of_aliases_is_a_short_line(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join(10 * [f'*a{n - 1}'])}]" for n in range(1, 12)]
    # 10^12 values below one key that the class knows, which an error must not write out.
    bomb = "pixel_mean: [" + ", ".join(f"&{line.split(': &')[1].replace(' [', ' [', 1)}" for line in lines) + "]"
    with pytest.raises(InputError, match="pixel_mean: expected float, found ") as error:
        load_config(written(tmp_path, f"{MODEL}{bomb}\n"))
    assert len(str(error.value)) < 20_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("shortest_edge: -5", "mine.yaml: shortest_edge: expected 1 to 16384, found -5"),
        ("longest_edge: 0", "longest_edge: expected 1 to 16384, found 0"),
        ("score_threshold: 7.0", "score_threshold: expected 0.0 to 1.0, found 7.0"),
        ("overlap_threshold: .nan", "overlap_threshold: expected 0.0 to 1.0, found nan"),
        ("temperature: 0.0", "temperature: expected 1e-06 to"),
        ("temperature: .nan", "temperature: expected .* found nan"),
        ("num_proposals: 0", "num_proposals: expected at least 1, found 0"),
        ("pixel_std: [1.0, 0.0, 1.0]", "pixel_std: expected 0.001 to 1000.0, found 0.0"),
        ("pixel_mean: [1.0]", "pixel_mean: expected 3 numbers, found 1"),
        ("name: ../../x", "name: expected letters, digits .* found '../../x'"),
    ],
)
def test_values_of_a_model_have_ranges(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        load_config(written(tmp_path, f"{MODEL}{change}\n"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("learning_rate: .nan", "learning_rate: expected 0.0 to 100.0, found nan"),
        ("weight_decay: -1.0", "weight_decay: expected 0.0 to 10.0, found -1.0"),
        ("ema_decay: 1.5", "ema_decay: expected 0.0 to 1.0, found 1.5"),
        ("seed: -1", "seed: expected at least 0, found -1"),
    ],
)
def test_values_of_a_recipe_have_ranges(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        load_recipe(written(tmp_path, f"{RECIPE}{change}\n"))


def label_set(*classes):
    return "name: mine\nsource: test\nclasses:\n" + "".join(f"- {{{text}}}\n" for text in classes)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (
            ("name: a, is_thing: true, dataset_id: 1, color: [0, 0, 0]",) * 2,
            "expected every name once, found 'a' again",
        ),
        (
            [f"name: {n}, is_thing: true, dataset_id: 1, color: [0, 0, 0]" for n in "ab"],
            "expected every dataset_id once, found 1 again",
        ),
        (["name: a, is_thing: true, dataset_id: 1, color: [0, 300, 0]"], "a: expected a color of 3 numbers 0 to 255"),
    ],
)
def test_label_sets_name_each_class_once(tmp_path, classes, message):
    with pytest.raises(InputError, match=message):
        load_label_set(str(written(tmp_path, label_set(*classes))))
