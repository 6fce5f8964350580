# SPDX-License-Identifier: Apache-2.0
"""Data sets with values of every wrong type and names that lead away: one line that says where, never a traceback."""

import copy
import json

import cv2
import numpy as np
import pytest

from yoso_ros.data import open_dataset, training_targets
from yoso_ros.data.formats.exchange import find_image
from yoso_ros.errors import InputError
from yoso_ros.evaluation.stored_predictions import evaluate_predictions

WRONG = (None, "", "x", 5, -1, 7.5, float("nan"), True, [], [1], ["a"], {}, 2**70)
WRONG += ("\0", "\ud800", "x" * 5000, "/dev/zero", "../../outside.png")
SEGMENT = {"id": 7, "category_id": 1, "iscrowd": 0, "area": 32, "bbox": [0, 0, 8, 4]}
CONTENT = {
    "images": [{"id": 1, "file_name": "1.png"}],
    "annotations": [{"image_id": 1, "file_name": "1.png", "segments_info": [SEGMENT]}],
    "categories": [{"id": 1, "name": "road", "isthing": 0, "color": [1, 2, 3]}],
}
PLACES = [
    (*path, key)
    for path, entry in (
        (("images", 0), CONTENT["images"][0]),
        (("annotations", 0), CONTENT["annotations"][0]),
        (("annotations", 0, "segments_info", 0), SEGMENT),
        (("categories", 0), CONTENT["categories"][0]),
    )
    for key in entry
]


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "data"
    for folder, picture in (("images/val", np.zeros((4, 8, 3))), ("panoptic_val", np.full((4, 8, 3), (0, 0, 7)))):
        (root / folder).mkdir(parents=True)
        cv2.imwrite(str(root / folder / "1.png"), picture)
    for folder in (tmp_path, root):
        cv2.imwrite(str(folder / "outside.png"), np.full((4, 8, 3), (0, 0, 7)))
    return root


def use(root, content):
    """All that training and checking do with a data set; what it said."""
    (root / "panoptic_val.json").write_text(content if isinstance(content, str) else json.dumps(content))
    try:
        dataset = open_dataset(root, "val")
        faults = list(dataset.find_faults())
        sample = dataset[0]
        assert sample.file_name == str(root / "images/val/1.png")
        training_targets(sample.ids, sample.segments, dataset.label_set)
    except InputError as error:
        return [str(error)]
    return faults


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
def test_values_of_wrong_types(root, place):
    assert use(root, CONTENT) == []
    for value in WRONG:
        content = copy.deepcopy(CONTENT)
        entry = content
        for key in place[:-1]:
            entry = entry[key]
        entry[place[-1]] = value
        faults = use(root, content)
        harmless = place[-1] == "name" or (place[-1] in ("isthing", "iscrowd") and value is True)
        assert faults or harmless, value
        assert all(len(line) < 900 and "\n" not in line for line in faults), faults
        assert all("panoptic_val" in line or str(root) in line for line in faults), faults


def test_files_that_are_no_json(root):
    for text, said in (("[" * 10**5, "nested too deeply"), ("[1]", "list of objects"), ("", "not valid JSON")):
        assert said in use(root, text)[0]


def test_names_that_lead_away_are_neither_read_nor_written(root, tmp_path):
    stored = {"annotations": [{"image_id": 1, "file_name": "../../outside.png", "segments_info": []}]}
    (tmp_path / "predictions.json").write_text(json.dumps(stored))
    with pytest.raises(InputError, match="inside"):
        evaluate_predictions(tmp_path / "predictions.json", None)
    with pytest.raises(InputError, match="no image"):
        find_image("../../outside.png", [root / "images/val"])
    # Label Studio writes ../../ before every name.
    assert find_image("../../upload/1.png", [root / "images/val"]) == root / "images/val/1.png"
