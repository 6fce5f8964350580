# SPDX-License-Identifier: Apache-2.0
"""Labels made by a model: the classes' mapping, void pixels, two views as one, and the data set that comes out."""

import json

import numpy as np
import pytest
import yaml
from two_processes import run_two

from yoso_ros.cli import main
from yoso_ros.data import open_dataset
from yoso_ros.data.synthetic.dataset import Synthesis, write_dataset
from yoso_ros.errors import InputError
from yoso_ros.label_sets import load_label_set
from yoso_ros.labelling.class_mapping import keep_classes, load_class_mapping
from yoso_ros.labelling.prelabels import prelabels
from yoso_ros.labelling.views import join, mirrored
from yoso_ros.results import UNLABELLED_ID, PanopticResult, segments_of

LABELS = load_label_set("synthetic")  # floor wall sky box cylinder person
FLOOR, WALL, BOX1, BOX2, PERSON1 = 0, 1 << 8, 3 << 8 | 1, 3 << 8 | 2, 5 << 8 | 1
MODEL = ["--model", "yoso_mobilenetv2_synthetic", "--engine", "torch", "--device", "cpu"]


def result(panoptic, confidence):
    panoptic = np.array(panoptic, np.uint16).repeat(8, 0).repeat(8, 1)
    confidence = np.broadcast_to(np.array(confidence, np.uint8), np.array(panoptic).shape)
    confidence = np.where(panoptic == UNLABELLED_ID, 0, confidence).astype(np.uint8)
    segments = segments_of(panoptic, LABELS, 0.75)
    return PanopticResult(panoptic, (panoptic >> 8).astype(np.uint8), confidence, segments)


def mapping_file(path, classes, own=("ground", "parcel")):
    colors = [
        {"name": n, "is_thing": n == "parcel", "dataset_id": 10 + i, "color": [i, 0, 0]} for i, n in enumerate(own)
    ]
    (path / "own.yaml").write_text(yaml.safe_dump({"name": "own", "source": "here", "classes": colors}))
    content = {"label_set": str(path / "own.yaml"), "classes": classes}
    (path / "map.yaml").write_text(yaml.safe_dump(content))
    return path / "map.yaml"


def test_classes_are_mapped_and_the_doubtful_is_void(tmp_path):
    found = result([[FLOOR, WALL, BOX1, BOX2, PERSON1, UNLABELLED_ID]], 200)
    found.confidence[:, 8:12] = 100
    mapping = load_class_mapping(
        mapping_file(tmp_path, {"floor": "ground", "wall": "ground", "box": "parcel", "person": "ground"}), LABELS
    )
    assert mapping.dropped == ("sky", "cylinder")
    ids, segments = prelabels(found, mapping, 0.5)
    # Floor, the sure half of the wall, and the person are one stuff; the boxes are two things.
    assert [(s["category_id"], s["iscrowd"], s["area"]) for s in segments] == [
        (10, 0, 64 + 32 + 64),
        (11, 0, 64),
        (11, 0, 64),
    ]
    assert (ids[:, 8:12] == 0).all() and (ids[:, 40:] == 0).all() and ids[0, 0] == ids[0, 12] == ids[0, 32]
    assert all(s["score"] == 0.75 for s in segments)
    assert segments[1]["bbox"] == [16, 0, 8, 8]


def test_stuff_that_becomes_a_thing_is_a_crowd_and_crumbs_are_void(tmp_path):
    found = result([[FLOOR, WALL, BOX1]], 200)
    found.confidence[:7, 16:] = 10
    mapping = load_class_mapping(mapping_file(tmp_path, {"floor": "parcel", "box": "parcel", "wall": None}), LABELS)
    ids, segments = prelabels(found, mapping, 0.5)
    assert [(s["category_id"], s["iscrowd"], s["area"]) for s in segments] == [(11, 1, 64)]
    assert (ids[:, 8:] == 0).all()


@pytest.mark.parametrize("classes", [{"flor": "ground"}, {"floor": "grund"}])
def test_a_mapping_with_a_wrong_name_is_refused(tmp_path, classes):
    with pytest.raises(InputError, match="flor|grund"):
        load_class_mapping(mapping_file(tmp_path, classes), LABELS)


def test_a_symmetric_model_is_unchanged_by_the_flip():
    found = result([[FLOOR, BOX1, WALL, UNLABELLED_ID, BOX2, PERSON1]], 201)
    same = join(found, found, LABELS)
    assert (same.panoptic == found.panoptic).all() and (same.confidence == found.confidence).all()
    assert same.segments == found.segments
    twice = mirrored(mirrored(found))
    assert (twice.panoptic == found.panoptic).all() and (mirrored(found).panoptic == found.panoptic[:, ::-1]).all()


def test_two_views_agree_by_segment_and_differ_by_confidence():
    # The boxes have each other's numbers; the second view sees a person where the first sees wall.
    first = result([[BOX1, BOX2, WALL, WALL]], 200)
    second = result([[BOX2, BOX1, PERSON1, WALL]], 100)
    joint = join(first, second, LABELS)
    assert (joint.panoptic == first.panoptic).all()  # the boxes are the same, the wall is surer than the person
    assert joint.confidence[0, 0] == 150 and joint.confidence[0, 20] == 50 and joint.confidence[0, 30] == 150
    surer = join(result([[BOX1, BOX2, WALL, WALL]], 100), result([[BOX2, BOX1, PERSON1, WALL]], 200), LABELS)
    assert (surer.panoptic[:, 16:24] == PERSON1).all() and {s.id for s in surer.segments} == {BOX1, BOX2, WALL, PERSON1}


def test_a_segment_of_which_little_is_left_is_void():
    first, second = result([[BOX1, BOX1, BOX1, WALL]], 100), result([[FLOOR, FLOOR, UNLABELLED_ID, WALL]], 200)
    joint = join(first, second, LABELS)
    assert (joint.panoptic[:, :16] == FLOOR).all() and (joint.panoptic[:, 16:24] == UNLABELLED_ID).all()
    assert (joint.confidence[:, 16:24] == 0).all()


def test_a_new_thing_gets_a_number_of_its_own():
    joint = join(result([[BOX1, BOX1, WALL, WALL]], 150), result([[BOX2, BOX2, BOX1, BOX1]], 200), LABELS)
    assert (joint.panoptic[:, :16] == BOX1).all() and (joint.panoptic[:, 16:] == BOX2).all()


def test_frames_become_a_data_set_that_passes_the_check(tmp_path, capsys):
    write_dataset(tmp_path / "data", Synthesis(count=5, width=128, height=96, split="val", seed=3, frames_per_scene=1))
    images = tmp_path / "data/images/val"
    command = ["bag", "label", str(images), "--flip", "--min-confidence", "0.4", *MODEL]
    assert main([*command, "--output", str(tmp_path / "one")]) == 0
    assert main(["train", "--check", str(tmp_path / "one"), "--val-split", "train"]) == 0
    made, truth = open_dataset(tmp_path / "one", "train"), open_dataset(tmp_path / "data", "val")
    assert len(made) == 5 and not (tmp_path / "one/parts").exists()
    right = [np.mean(class_map(m) == class_map(t)) for m, t in ((made[i], truth[i]) for i in range(5))]
    assert np.mean(right) > 0.8
    for i in range(5):
        assert (made[i].image == truth[i].image).all()
    printed = run_two([*command, "--output", str(tmp_path / "two")])
    assert "5 images" in printed[0] and printed[1] == ""
    contents = [json.loads((tmp_path / f / "panoptic_train.json").read_text()) for f in ("one", "two")]
    assert [c["images"] for c in contents[:1]] == [c["images"] for c in contents[1:]]
    capsys.readouterr()
    assert main([*command, "--output", str(tmp_path / "one")]) == 2
    assert "already exists" in capsys.readouterr().err


def class_map(sample):
    classes = np.zeros(sample.ids.max() + 1, int)
    for segment in sample.segments:
        classes[segment["id"]] = segment["category_id"]
    return classes[sample.ids]


def test_keeping_the_classes():
    mapping = keep_classes(LABELS)
    assert mapping.label_set is LABELS and mapping.table[:6].tolist() == list(range(6)) and mapping.table[6] == 255
