# SPDX-License-Identifier: Apache-2.0
"""Cityscapes reader: segments from instanceIds by the official rules, on made and on real files."""

import json

import cv2
import numpy as np
import pytest

from yoso_ros.data import open_dataset, training_targets
from yoso_ros.data.cityscapes import Cityscapes, CityscapesPanoptic
from yoso_ros.errors import InputError
from yoso_ros.label_sets import load_label_set

# road, ego vehicle (not evaluated), a group of cars without single instances, car 0, person 3, caravan (not evaluated)
INSTANCES = np.array([[7, 7, 1, 26], [26000, 26000, 24003, 29001], [26000, 26000, 0, 65535]], dtype=np.uint16)


def write_split(root, instances=INSTANCES, image_shape=(3, 4, 3)):
    for folder in ("gtFine/val/town", "leftImg8bit/val/town"):
        (root / folder).mkdir(parents=True)
    cv2.imwrite(str(root / "gtFine/val/town/town_000000_000019_gtFine_instanceIds.png"), instances)
    image = np.full(image_shape, (1, 2, 3), np.uint8)
    cv2.imwrite(str(root / "leftImg8bit/val/town/town_000000_000019_leftImg8bit.png"), image[..., ::-1])


def test_segments_follow_the_official_rules(tmp_path):
    write_split(tmp_path)
    dataset = open_dataset(tmp_path, "val")
    assert isinstance(dataset, Cityscapes) and len(dataset) == 1 and list(dataset.find_faults()) == []
    sample = dataset[0]
    assert sample.ids.tolist() == [[7, 7, 0, 26], [26000, 26000, 24003, 0], [26000, 26000, 0, 0]]
    assert sample.ids.dtype == np.int32 and sample.image[0, 0].tolist() == [1, 2, 3]
    assert sample.image_id == "town_000000_000019"
    assert sample.segments == [
        {"id": 7, "category_id": 7, "iscrowd": 0, "area": 2, "bbox": [0, 0, 2, 1]},
        {"id": 26, "category_id": 26, "iscrowd": 1, "area": 1, "bbox": [3, 0, 1, 1]},
        {"id": 24003, "category_id": 24, "iscrowd": 0, "area": 1, "bbox": [2, 1, 1, 1]},
        {"id": 26000, "category_id": 26, "iscrowd": 0, "area": 4, "bbox": [0, 1, 2, 2]},
    ]
    labels, masks = training_targets(sample.ids, sample.segments, dataset.label_set)
    assert [dataset.label_set.classes[i].name for i in labels] == ["road", "person", "car"]
    assert masks.sum(axis=(1, 2)).tolist() == [2, 1, 4]


def test_faults_are_named(tmp_path):
    with pytest.raises(InputError, match=r"gtFine/val/CITY/\*_gtFine_instanceIds\.png, found none"):
        Cityscapes(tmp_path, "val")
    write_split(tmp_path / "a", image_shape=(3, 5, 3))
    write_split(tmp_path / "b", instances=INSTANCES.astype(np.uint8))
    write_split(tmp_path / "c")
    (tmp_path / "c/leftImg8bit/val/town/town_000000_000019_leftImg8bit.png").unlink()
    for name, message in (
        ("a", r"instanceIds.png: expected the size of"),
        ("b", "16-bit"),
        ("c", "leftImg8bit.png: .*none"),
    ):
        with pytest.raises(InputError, match=message) as error:
            Cityscapes(tmp_path / name, "val")[0]
        assert list(Cityscapes(tmp_path / name, "val").find_faults()) == [str(error.value)]


def test_real_files_agree_with_their_label_ids(shared_data):
    root = shared_data / "data/cityscapes_layout_sample"
    label_set = load_label_set("cityscapes")
    dataset = Cityscapes(root, "val")
    assert len(dataset) == 5 and list(dataset.find_faults()) == []
    for sample in (dataset[i] for i in range(len(dataset))):
        labels = cv2.imread(
            str(root / f"gtFine/val/karlsruhe/{sample.image_id}_gtFine_labelIds.png"), cv2.IMREAD_UNCHANGED
        )
        evaluated = np.isin(labels, list(label_set.contiguous_id))
        np.testing.assert_array_equal(sample.ids != 0, evaluated)
        for segment in sample.segments:
            mask = sample.ids == segment["id"]
            assert (labels[mask] == segment["category_id"]).all() and mask.sum() == segment["area"]


def write_panoptic_files(root, split):
    """The panoptic files of a split by the official rules, segment by segment."""
    label_set = load_label_set("cityscapes")
    folder = root / f"gtFine/cityscapes_panoptic_{split}"
    folder.mkdir()
    images, annotations = [], []
    for path in sorted((root / f"gtFine/{split}").glob("*/*_instanceIds.png")):
        instances = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        image_id, segments = path.name.removesuffix("_gtFine_instanceIds.png"), []
        rgb = np.zeros((*instances.shape, 3), np.uint8)
        for number in sorted(set(instances.ravel().tolist())):
            label = number if number < 1000 else number // 1000
            known = [c for c in label_set.classes if c.dataset_id == label]
            if known:
                ys, xs = np.nonzero(instances == number)
                rgb[ys, xs] = number % 256, number // 256, 0
                box = [xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1]
                crowd = int(known[0].is_thing and number < 1000)
                row = {"id": number, "category_id": label, "area": len(ys), "iscrowd": crowd}
                segments.append({**row, "bbox": [int(v) for v in box]})
        name = f"{image_id}_gtFine_panoptic.png"
        cv2.imwrite(str(folder / name), rgb[..., ::-1])
        images.append({"id": image_id, "file_name": f"{image_id}_gtFine_leftImg8bit.png"})
        annotations.append({"image_id": image_id, "file_name": name, "segments_info": segments})
    categories = [{"id": c.dataset_id, "name": c.name, "isthing": int(c.is_thing)} for c in label_set.classes]
    content = {"images": images, "annotations": annotations, "categories": categories}
    folder.with_suffix(".json").write_text(json.dumps(content))


def same_samples(root):
    built, read = Cityscapes(root, "val"), open_dataset(root, "val")
    assert isinstance(read, CityscapesPanoptic) and list(read.find_faults()) == []
    assert [c.name for c in read.label_set.classes] == [c.name for c in built.label_set.classes]
    for a, b in zip((built[i] for i in range(len(built))), (read[i] for i in range(len(read))), strict=True):
        np.testing.assert_array_equal(a.ids, b.ids)
        np.testing.assert_array_equal(a.image, b.image)
        assert (a.image_id, a.file_name, a.segments) == (b.image_id, b.file_name, b.segments)


def test_official_panoptic_files_give_the_same_samples(tmp_path):
    write_split(tmp_path)
    write_panoptic_files(tmp_path, "val")
    same_samples(tmp_path)


def test_official_panoptic_files_of_real_images_give_the_same_samples(shared_data, tmp_path):
    root = shared_data / "data/cityscapes_layout_sample"
    (tmp_path / "gtFine").mkdir()
    (tmp_path / "gtFine/val").symlink_to(root / "gtFine/val")
    (tmp_path / "leftImg8bit").symlink_to(root / "leftImg8bit")
    write_panoptic_files(tmp_path, "val")
    same_samples(tmp_path)
