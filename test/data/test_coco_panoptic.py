# SPDX-License-Identifier: Apache-2.0
"""COCO panoptic reader: real files, every kind of fault named with file and reason, and the training targets."""

import json

import cv2
import numpy as np
import pytest

from yoso_ros.data import CocoPanoptic, training_targets
from yoso_ros.data.samples import ids_from_rgb, rgb_from_ids
from yoso_ros.errors import InputError
from yoso_ros.label_sets import load_label_set

CATEGORIES = [
    {"id": 3, "name": "floor", "isthing": 0, "color": [9, 9, 9]},
    {"id": 0, "name": "box", "isthing": 1, "color": [200, 9, 9]},
]


def write_dataset(root, split="val", change=None):
    """Two images of 6x8 in the own-data layout; `change(content)` may spoil the JSON before it is written."""
    ids = np.full((6, 8), 70000, dtype=np.int32)  # floor, an id that needs all three channels
    ids[1:3, 1:4], ids[4, :] = 5, 0
    segments = [
        {"id": 70000, "category_id": 3, "iscrowd": 0, "area": 34, "bbox": [0, 0, 8, 6]},
        {"id": 5, "category_id": 0, "iscrowd": 0, "area": 6, "bbox": [1, 1, 3, 2]},
    ]
    content = {"images": [], "annotations": [], "categories": CATEGORIES}
    (root / "images" / split).mkdir(parents=True)
    (root / f"panoptic_{split}").mkdir()
    for index in (0, 1):
        image = np.full((6, 8, 3), (10, 20, 30), np.uint8)  # RGB
        cv2.imwrite(str(root / "images" / split / f"{index}.png"), image[..., ::-1])
        cv2.imwrite(str(root / f"panoptic_{split}" / f"{index}.png"), rgb_from_ids(ids)[..., ::-1])
        content["images"].append({"id": index, "file_name": f"{index}.png", "height": 6, "width": 8})
        content["annotations"].append(
            {"image_id": index, "file_name": f"{index}.png", "segments_info": json.loads(json.dumps(segments))}
        )
    if change:
        change(content)
    (root / f"panoptic_{split}.json").write_text(json.dumps(content))
    return ids


def test_reads_pixels_and_segments(tmp_path):
    ids = write_dataset(tmp_path)
    dataset = CocoPanoptic.from_root(tmp_path, "val")
    sample = dataset[1]
    np.testing.assert_array_equal(sample.ids, ids)
    assert sample.ids.dtype == np.int32 and sample.image.dtype == np.uint8
    assert sample.image[0, 0].tolist() == [10, 20, 30]
    assert sample.image_id == 1 and sample.file_name == str(tmp_path / "images/val/1.png")
    assert [s["id"] for s in sample.segments] == [70000, 5]
    assert [(c.name, c.is_thing, c.dataset_id) for c in dataset.label_set.classes] == [
        ("floor", False, 3),
        ("box", True, 0),
    ]
    assert len(dataset) == 2 and list(dataset.find_faults()) == []


def test_ids_are_little_endian_rgb():
    ids = np.array([[0, 255, 256, 65536, 2**24 - 1]], dtype=np.int32)
    assert rgb_from_ids(ids)[0].tolist() == [[0, 0, 0], [255, 0, 0], [0, 1, 0], [0, 0, 1], [255, 255, 255]]
    np.testing.assert_array_equal(ids_from_rgb(rgb_from_ids(ids)), ids)


def test_finds_the_layout_of_coco_as_downloaded(tmp_path):
    write_dataset(tmp_path / "plain", "val2017")
    coco = tmp_path / "coco"
    (coco / "annotations").mkdir(parents=True)
    (tmp_path / "plain/images/val2017").rename(coco / "val2017")
    for name in ("panoptic_val2017", "panoptic_val2017.json"):
        (tmp_path / "plain" / name).rename(coco / "annotations" / name)
    assert list(CocoPanoptic.from_root(coco, "val").find_faults()) == []
    (coco / "annotations/panoptic_val2017").rename(coco / "panoptic_val2017")
    assert CocoPanoptic.from_root(coco, "val2017")[0].ids.max() == 70000


def spoil_segment(**changes):
    def change(content):
        content["annotations"][1]["segments_info"][1].update(changes)

    return change


FAULTS = {
    "id in the PNG only": (
        spoil_segment(id=6, area=0),
        r"1\.png: segment 5 is in the PNG and not in panoptic_val\.json",
    ),
    "unknown category": (spoil_segment(category_id=44), r"panoptic_val\.json: segment 5 of 1\.png has category 44"),
    "image missing": (lambda c: c["images"][1].update(file_name="gone.png"), r"images/val/gone\.png: .*found none"),
    "PNG missing": (
        lambda c: c["annotations"][1].update(file_name="gone.png"),
        r"panoptic_val/gone\.png: .*found none",
    ),
    "unknown image": (lambda c: c["annotations"][1].update(image_id=9), r"annotation 1 is of image 9"),
    "key missing": (
        lambda c: c["annotations"][1]["segments_info"][1].pop("iscrowd"),
        r"annotation 1, segment 5 lacks iscrowd",
    ),
    "no segments": (lambda c: c["annotations"][1].pop("segments_info"), r"annotation 1 lacks segments_info"),
    "listed twice": (
        lambda c: c["annotations"][1]["segments_info"].append(c["annotations"][1]["segments_info"][0]),
        r"segment 70000 of 1\.png is listed twice",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_names_file_and_reason(tmp_path, name):
    change, message = FAULTS[name]
    write_dataset(tmp_path, change=change)
    dataset = CocoPanoptic.from_root(tmp_path, "val", None)
    assert dataset[0].ids.shape == (6, 8)  # the good image still reads
    with pytest.raises(InputError, match=message) as error:
        dataset[1]
    assert str(error.value) in list(dataset.find_faults())


def test_size_mismatch_and_undecodable_files(tmp_path):
    write_dataset(tmp_path)
    cv2.imwrite(str(tmp_path / "images/val/0.png"), np.zeros((6, 9, 3), np.uint8))
    (tmp_path / "panoptic_val/1.png").write_text("not a picture")
    dataset = CocoPanoptic.from_root(tmp_path, "val")
    faults = list(dataset.find_faults())
    assert len(faults) == 2
    assert "panoptic_val/0.png: expected the size of" in faults[0] and "9x6, found 8x6" in faults[0]
    assert "panoptic_val/1.png" in faults[1] and "expected a JPEG, PNG" in faults[1]


def test_check_goes_on_after_the_first_fault_of_an_image(tmp_path):
    def spoil(content):
        content["annotations"][0]["file_name"] = "gone.png"
        content["images"][0]["file_name"] = "gone_too.png"
        for segment in content["annotations"][0]["segments_info"]:
            segment.pop("area")

    write_dataset(tmp_path, change=spoil)
    faults = list(CocoPanoptic.from_root(tmp_path, "val").find_faults())
    assert len(faults) == 4
    for fault, part in zip(
        faults, ("gone_too.png: exp", "gone.png: exp", "70000 lacks area", "5 lacks area"), strict=True
    ):
        assert part in fault


def test_check_reports_what_reading_forgives(tmp_path):
    def change(content):
        content["annotations"][0]["segments_info"][1]["area"] = 60
        content["annotations"][0]["segments_info"].append(
            {"id": 8, "category_id": 0, "iscrowd": 0, "area": 4, "bbox": [0, 0, 2, 2]}
        )
        content["images"].append({"id": 7, "file_name": "7.png"})

    write_dataset(tmp_path, change=change)
    dataset = CocoPanoptic.from_root(tmp_path, "val")
    assert len(dataset[0].segments) == 3
    faults = "\n".join(dataset.find_faults())
    assert "segment 5 of 0.png has area 60, the PNG has 6 pixels" in faults
    assert "0.png: segment 8 is in panoptic_val.json and not in the PNG" in faults
    assert "image 7 (7.png) has no annotation" in faults


def test_bad_json_and_wrong_label_set(tmp_path):
    with pytest.raises(InputError, match=r"one of: .*panoptic_val\.json.*annotations.*found none"):
        CocoPanoptic.from_root(tmp_path, "val")
    bad = tmp_path / "bad.json"
    for text, message in (("{", "not valid JSON"), ("[]", "'images'"), ('{"images": [{}]}', r"images\[0\] lacks id")):
        bad.write_text(text)
        with pytest.raises(InputError, match=rf"bad\.json.*{message}"):
            CocoPanoptic(bad, tmp_path)
    write_dataset(tmp_path)
    with pytest.raises(InputError, match="category 3 is 'floor' .stuff., but 'road' .stuff. in label set camvid"):
        CocoPanoptic.from_root(tmp_path, "val", load_label_set("camvid"))


def test_real_coco_sample(shared_data):
    root = shared_data / "data/coco_panoptic_sample"
    label_set = load_label_set("coco_panoptic")
    dataset = CocoPanoptic(
        root / "panoptic_examples.json", root / "input_images", root / "panoptic_examples", label_set
    )
    assert list(dataset.find_faults()) == []  # every official area equals the pixels counted here
    assert sum(len(dataset[i].segments) for i in range(len(dataset))) > 20
    assert label_set.contiguous_id[1] == 0


def test_real_camvid(shared_data):
    dataset = CocoPanoptic.from_root(shared_data / "data/camvid", "val", load_label_set("camvid"))
    assert len(dataset) == 101
    sample = dataset[0]
    assert sample.image.shape == (360, 480, 3)
    labels, masks = training_targets(sample.ids, sample.segments, dataset.label_set)
    void = sample.ids == 0
    np.testing.assert_array_equal(masks.sum(axis=0), (~void).astype(int))  # each labelled pixel in exactly one target
    for name in ("sky", "road", "car"):
        class_id = next(i for i, c in enumerate(dataset.label_set.classes) if c.name == name)
        expected = sum(s["area"] for s in sample.segments if s["category_id"] == class_id)
        assert masks[labels == class_id].sum() == expected


def test_targets_merge_stuff_and_leave_out_crowds_void_and_vanished(tmp_path):
    write_dataset(tmp_path)
    label_set = CocoPanoptic.from_root(tmp_path, "val").label_set
    ids = np.array([[0, 1, 1, 2], [3, 4, 5, 5]], dtype=np.int32)
    crowd = {1: 0, 2: 0, 3: 0, 4: 1, 5: 0, 6: 0}
    category = {1: 3, 2: 3, 3: 0, 4: 0, 5: 0, 6: 0}
    segments = [{"id": i, "category_id": category[i], "iscrowd": crowd[i]} for i in crowd]
    labels, masks = training_targets(ids, segments, label_set)
    assert labels.dtype == np.int64 and masks.dtype == bool
    assert labels.tolist() == [0, 1, 1]
    assert masks.astype(int).tolist() == [
        [[0, 1, 1, 1], [0, 0, 0, 0]],
        [[0, 0, 0, 0], [1, 0, 0, 0]],
        [[0, 0, 0, 0], [0, 0, 1, 1]],
    ]
    labels, masks = training_targets(np.zeros((2, 4), np.int32), segments, label_set)
    assert labels.shape == (0,) and masks.shape == (0, 2, 4)
    with pytest.raises(InputError, match="category 44"):
        training_targets(ids, [{"id": 1, "category_id": 44, "iscrowd": 0}], label_set)
