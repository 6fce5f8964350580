# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros train --check`: every fault as a line with file and reason, exit code 2 when there are any."""

import json

import cv2
import numpy as np
from test_coco_panoptic import write_dataset

from yoso_ros.cli import main
from yoso_ros.data import open_dataset
from yoso_ros.label_sets import load_label_set


def test_a_good_data_set_passes_and_its_classes_can_be_written(tmp_path, capsys):
    for split in ("train", "val"):
        write_dataset(tmp_path, split)
    classes = tmp_path / "boxes.yaml"
    assert main(["train", "--check", str(tmp_path), "--label-set-out", str(classes)]) == 0
    assert f"{tmp_path}: no faults" in capsys.readouterr().out
    label_set = load_label_set(str(classes))
    assert label_set.name == "boxes"
    assert label_set.classes == open_dataset(tmp_path, "val").label_set.classes


def test_every_fault_is_listed(tmp_path, capsys):
    def spoil(content):
        content["annotations"][0]["segments_info"][0]["area"] = 1
        content["annotations"][0]["segments_info"][1]["category_id"] = 44
        content["images"].append({"id": 7, "file_name": "7.png"})

    write_dataset(tmp_path, "train", change=spoil)
    cv2.imwrite(str(tmp_path / "images/train/1.png"), np.zeros((3, 3, 3), np.uint8))
    assert main(["train", "--check", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    for line in (
        "panoptic_train.json: segment 5 of 0.png has category 44, which label set",
        "panoptic_train.json: segment 70000 of 0.png has area 1, the PNG has 34 pixels",
        "panoptic_train/1.png: expected the size of",
        "panoptic_train.json: image 7 (7.png) has no annotation",
        "expected a COCO panoptic JSON at one of:",
    ):
        assert captured.out.count(line) == 1, line
    assert f"yoso-ros train: {tmp_path} has 5 faults, listed above" in captured.err


def test_real_data_sets_have_no_faults(shared_data, capsys):
    sample = shared_data / "data/cityscapes_layout_sample"
    assert main(["train", "--check", str(sample), "--train-split", "val"]) == 0
    assert "val: 5 images, 19 classes" in capsys.readouterr().out


def test_json_of_the_wrong_shape_is_a_fault(tmp_path, capsys):
    (tmp_path / "panoptic_train.json").write_text(json.dumps({"images": []}))
    assert main(["train", "--check", str(tmp_path), "--val-split", "train"]) == 2
    assert "expected a list of objects under 'annotations'" in capsys.readouterr().out
