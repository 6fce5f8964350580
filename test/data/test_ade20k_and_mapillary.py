# SPDX-License-Identifier: Apache-2.0
"""ADE20K and Mapillary Vistas in the folders of their downloads: what is read, which version, and named faults."""

import json

import cv2
import numpy as np
import pytest

from yoso_ros.data import open_dataset, training_targets
from yoso_ros.data.ade20k import Ade20k
from yoso_ros.data.coco_panoptic import CocoPanoptic
from yoso_ros.data.samples import rgb_from_ids
from yoso_ros.errors import InputError
from yoso_ros.label_sets import load_label_set

MAPPING = "Instance label\tSemantic label\tName\n1\t8\tbed\n2\t9\twindow\n4\t13\tperson\n"


def write_picture(path, rgb):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(
        str(path), np.asarray(rgb, np.uint8)[..., ::-1] if np.ndim(rgb) == 3 else np.asarray(rgb, np.uint8)
    )


def write_ade20k(root, semantic=None, instances=None):
    """Wall (label 1), a bed (8) and a person (13) of which one is not an instance, on 4x6 pixels."""
    if semantic is None:
        semantic = np.ones((4, 6), np.uint8)
        semantic[0] = 0
        semantic[1, :3] = 8
        semantic[2:, 4:] = 13
    if instances is None:
        instances = np.zeros((4, 6, 3), np.uint8)
        instances[1, :4] = (1, 1, 77)  # the bed, one pixel wider than its semantic label: instances lie over stuff
        instances[2, 4:] = (4, 2, 78)  # a person; the row below has no instance
    write_picture(root / "images/validation/ADE_val_00000001.jpg", np.full((4, 6, 3), 90))
    write_picture(root / "annotations/validation/ADE_val_00000001.png", semantic)
    write_picture(root / "annotations_instance/validation/ADE_val_00000001.png", instances)
    (root / "categoryMapping.txt").write_text(MAPPING)


def test_ade20k_as_downloaded(tmp_path):
    write_ade20k(tmp_path)
    dataset = open_dataset(tmp_path, "val")
    assert isinstance(dataset, Ade20k) and len(dataset) == 1 and list(dataset.find_faults()) == []
    sample = dataset[0]
    assert sample.image_id == "ADE_val_00000001" and sample.image.shape == (4, 6, 3)
    assert sample.ids.tolist() == [
        [0, 0, 0, 0, 0, 0],
        [1001, 1001, 1001, 1001, 1, 1],
        [1, 1, 1, 1, 1002, 1002],
        [1, 1, 1, 1, 0, 0],
    ]
    assert sample.segments == [
        {"id": 1, "category_id": 0, "iscrowd": 0, "area": 10, "bbox": [0, 1, 6, 3]},
        {"id": 1001, "category_id": 7, "iscrowd": 0, "area": 4, "bbox": [0, 1, 4, 1]},
        {"id": 1002, "category_id": 12, "iscrowd": 0, "area": 2, "bbox": [4, 2, 2, 1]},
    ]
    labels, masks = training_targets(sample.ids, sample.segments, dataset.label_set)
    assert [dataset.label_set.classes[i].name for i in labels] == ["wall", "bed", "person"]
    assert masks.sum(axis=(1, 2)).tolist() == [10, 4, 2]


def test_ade20k_faults_are_named(tmp_path):
    two_categories = np.zeros((4, 6, 3), np.uint8)
    two_categories[0, 0], two_categories[1, 1] = (1, 5, 0), (2, 5, 0)
    unknown = np.zeros((4, 6, 3), np.uint8)
    unknown[0, 0] = (99, 5, 0)
    for name, changes, message in (
        ("a", {"instances": two_categories}, r"annotations_instance/.*\.png: expected instance 5 .* found \[1, 2\]"),
        ("b", {"instances": unknown}, r"found \[99\]"),
        ("c", {"semantic": np.full((4, 6), 151)}, r"annotations/.*\.png: has label 151"),
        ("d", {"semantic": np.ones((4, 7))}, r"annotations/.*\.png: expected the size of"),
        ("e", {"semantic": np.ones((4, 6, 3))}, "expected 8-bit grey"),
    ):
        write_ade20k(tmp_path / name, **changes)
        faults = list(open_dataset(tmp_path / name, "val").find_faults())
        assert len(faults) == 1
        with pytest.raises(InputError, match=message) as error:
            open_dataset(tmp_path / name, "val")[0]
        assert faults == [str(error.value)]
    with pytest.raises(InputError, match=r"images/training/\*\.jpg, found none"):
        open_dataset(tmp_path / "a", "train")
    (tmp_path / "a/categoryMapping.txt").write_text("heading\n1\n")
    with pytest.raises(InputError, match="categoryMapping.txt: expected lines of"):
        open_dataset(tmp_path / "a", "val")
    (tmp_path / "a/categoryMapping.txt").unlink()
    with pytest.raises(InputError, match="categoryMapping.txt.*found none"):
        open_dataset(tmp_path / "a", "val")


def write_panoptic(json_path, image_path, categories, names=("one",)):
    """One image whose left half is the first of the categories and whose right half is the second."""
    ids = np.repeat([[300, 70000]], 4, axis=0).repeat(3, axis=1)
    content = {"images": [], "annotations": [], "categories": categories}
    for name in names:
        write_picture(image_path / f"{name}.jpg", np.full((4, 6, 3), 90))
        write_picture(json_path.parent / f"{name}.png", rgb_from_ids(ids))
        content["images"].append({"id": name, "file_name": f"{name}.jpg"})
        segments = [
            {"id": i, "category_id": c["id"], "iscrowd": 0, "area": 12, "bbox": [3 * n, 0, 3, 4]}
            for n, (i, c) in enumerate(zip((300, 70000), categories, strict=False))
        ]
        content["annotations"].append({"image_id": name, "file_name": f"{name}.png", "segments_info": segments})
    json_path.write_text(json.dumps(content))


def test_ade20k_as_converted(tmp_path):
    categories = load_label_set("ade20k_panoptic").coco_categories()
    categories[8]["name"] = "window "  # as the usual conversion has it
    (tmp_path / "images/training").mkdir(parents=True)
    folder = tmp_path / "ade20k_panoptic_train"
    folder.mkdir()
    write_panoptic(folder / "x.json", tmp_path / "images/training", categories)
    (folder / "x.json").rename(tmp_path / "ade20k_panoptic_train.json")
    dataset = open_dataset(tmp_path, "train")
    assert isinstance(dataset, CocoPanoptic) and list(dataset.find_faults()) == []
    assert [s["category_id"] for s in dataset[0].segments] == [0, 1]
    assert len(dataset.label_set) == 150


V2_CATEGORIES = [
    {"id": 1, "name": "Bird", "supercategory": "animal--bird", "isthing": 1},
    {"id": 5, "name": "Road Median", "supercategory": "construction--barrier--road-median", "isthing": 0},
]
V2_CONFIG = {
    "labels": [
        {"readable": "Bird", "name": "animal--bird", "instances": True, "evaluate": True, "color": [165, 42, 42]},
        {"readable": "Road Median", "name": "c--rm", "instances": False, "evaluate": True, "color": [85, 85, 85]},
    ]
}


def write_mapillary_v2(root):
    """Package 2.0, which holds both versions over the same images."""
    images = root / "validation/images"
    for place, categories in (
        ("v1.2/panoptic/panoptic_2018.json", load_label_set("mapillary_vistas").coco_categories()),
        ("v2.0/panoptic/panoptic_2020.json", V2_CATEGORIES),
    ):
        path = root / "validation" / place
        path.parent.mkdir(parents=True)
        write_panoptic(path, images, categories)
    (root / "config_v1.2.json").write_text("{}")
    (root / "config_v2.0.json").write_text(json.dumps(V2_CONFIG))


def test_mapillary_chooses_the_version_by_its_config(tmp_path):
    write_mapillary_v2(tmp_path)
    for root in (tmp_path, tmp_path / "config_v1.2.json"):
        dataset = open_dataset(root, "val")
        assert dataset.label_set == load_label_set("mapillary_vistas")
        assert [s["category_id"] for s in dataset[0].segments] == [1, 2]
        assert list(dataset.find_faults()) == []
    dataset = open_dataset(tmp_path / "config_v2.0.json", "val")
    assert dataset.label_set.name == "mapillary_vistas_v2.0"
    assert [(c.name, c.is_thing, c.dataset_id, c.color) for c in dataset.label_set.classes] == [
        ("Bird", True, 1, (165, 42, 42)),
        ("Road Median", False, 5, (85, 85, 85)),
    ]
    sample = dataset[0]
    assert sample.image_id == "one" and list(dataset.find_faults()) == []
    labels, masks = training_targets(sample.ids, sample.segments, dataset.label_set)
    assert labels.tolist() == [0, 1] and masks.sum(axis=(1, 2)).tolist() == [12, 12]


def test_mapillary_package_1_and_faults(tmp_path):
    path = tmp_path / "training/panoptic/panoptic_2018.json"
    path.parent.mkdir(parents=True)
    write_panoptic(path, tmp_path / "training/images", load_label_set("mapillary_vistas").coco_categories(), "ab")
    assert len(open_dataset(tmp_path, "train")) == 2
    with pytest.raises(InputError, match=r"validation/panoptic/panoptic_2018\.json, .*panoptic_2020\.json; found none"):
        open_dataset(tmp_path, "val")
    (tmp_path / "training/panoptic/b.png").unlink()
    faults = list(open_dataset(tmp_path, "train").find_faults())
    assert len(faults) == 1 and "training/panoptic/b.png" in faults[0]
    with pytest.raises(InputError, match="category 7 is 'Wall' .*'road' .* in label set cityscapes"):
        open_dataset(tmp_path, "train", load_label_set("cityscapes"))[0]
