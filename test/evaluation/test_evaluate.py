# SPDX-License-Identifier: Apache-2.0
"""Evaluation of a segmenter and of stored predictions: known numbers from known predictions, reports and pictures."""

import json
import math

import cv2
import numpy as np
import pytest

from yoso_ros.cli import main
from yoso_ros.data import CocoPanoptic
from yoso_ros.data.samples import rgb_from_ids
from yoso_ros.errors import InputError
from yoso_ros.evaluation import evaluate_predictions, evaluate_segmenter
from yoso_ros.evaluation.segment_maps import semantic_map, truth_panoptic
from yoso_ros.images.encoded import read_image
from yoso_ros.label_sets import LabelClass, LabelSet
from yoso_ros.results import UNLABELLED_ID, PanopticResult, Segment

CATEGORIES = [
    {"id": 0, "name": "floor", "isthing": 0, "color": [90, 90, 90]},
    {"id": 8, "name": "box", "isthing": 1, "color": [200, 20, 20]},
    {"id": 9, "name": "wall", "isthing": 0, "color": [20, 20, 200]},
]
# The model's order differs from the data set's, so class ids must be found by name.
MODEL_CLASSES = (("box", True), ("wall", False), ("floor", False))
BOX, WALL, FLOOR = 0, 1, 2


def truth_ids():
    """10x20: floor below, void in the last column, two boxes of 3x5."""
    ids = np.full((10, 20), 5000, dtype=np.int32)
    ids[2:5, 2:7], ids[6:9, 2:7] = 70001, 70002
    ids[:, 19] = 0
    return ids


@pytest.fixture
def dataset(tmp_path):
    root = tmp_path / "data"
    (root / "images/val").mkdir(parents=True)
    (root / "panoptic_val").mkdir()
    ids = truth_ids()
    segments = [
        {"id": i, "category_id": c, "iscrowd": 0, "area": int((ids == i).sum()), "bbox": [0, 0, 1, 1]}
        for i, c in ((5000, 0), (70001, 8), (70002, 8))
    ]
    content = {"images": [], "annotations": [], "categories": CATEGORIES}
    for index in (0, 1):
        cv2.imwrite(str(root / f"images/val/{index}.png"), np.full((10, 20, 3), 50 + index, np.uint8))
        cv2.imwrite(str(root / f"panoptic_val/{index}.png"), rgb_from_ids(ids)[..., ::-1])
        content["images"].append({"id": index, "file_name": f"{index}.png"})
        content["annotations"].append({"image_id": index, "file_name": f"{index}.png", "segments_info": segments})
    (root / "panoptic_val.json").write_text(json.dumps(content))
    return CocoPanoptic.from_root(root, "val")


class FakeSegmenter:
    """Perfect on the image of value 50; on the other it misses a box and leaves the top rows unlabelled."""

    backend = "fake"
    label_set = LabelSet(
        name="model",
        source="test",
        classes=tuple(
            LabelClass(name=n, is_thing=t, dataset_id=i, color=(1, 2, 3)) for i, (n, t) in enumerate(MODEL_CLASSES)
        ),
    )

    def __call__(self, frame):
        truth = truth_ids()
        panoptic = np.full(truth.shape, FLOOR << 8, dtype=np.uint16)
        panoptic[truth == 70001] = BOX << 8 | 1
        if frame[0, 0, 0] == 50:
            panoptic[truth == 70002] = BOX << 8 | 2
        else:
            panoptic[:2] = UNLABELLED_ID
        segments = [
            Segment(
                i, i >> 8, MODEL_CLASSES[i >> 8][0], MODEL_CLASSES[i >> 8][1], i & 255, 0.9, 1, (0, 0, 1, 1), (0.0, 0.0)
            )
            for i in np.unique(panoptic[panoptic != UNLABELLED_ID]).tolist()
        ]
        timings = {"preprocess": 1.0, "inference": 2.0, "postprocess": 3.0}
        return PanopticResult(
            panoptic, (panoptic >> 8).astype(np.uint8), np.full(truth.shape, 9, np.uint8), segments, timings
        )


# Floor of the truth: 10 * 19 - 30 = 160 pixels. Second image: 15 of the missed box are predicted as floor, 2 rows of 19
# are unlabelled, void is not counted: intersection 160 - 38 = 122, union 160 + 15 = 175.
FLOOR_IOU = 122 / 175


def check(report):
    quality = report["panoptic_quality"]
    floor, box, wall = (quality["per_class"][i] for i in (0, 8, 9))
    assert (floor["tp"], floor["fp"], floor["fn"]) == (2, 0, 0)
    assert floor["pq"] == pytest.approx((1 + FLOOR_IOU) / 2, abs=1e-12)
    assert (box["tp"], box["fp"], box["fn"]) == (3, 0, 1)
    assert box["pq"] == pytest.approx(3 / 3.5, abs=1e-12)
    assert math.isnan(wall["pq"]) and quality["All"]["N"] == 2
    assert quality["All"]["PQ"] == pytest.approx(100 * ((1 + FLOOR_IOU) / 2 + 3 / 3.5) / 2, abs=1e-9)
    # semantic, both images together: floor (160 + 122) / (320 + 15), box (30 + 15) / 60
    assert report["mean_iou"] == pytest.approx(100 * ((282 / 335) + (45 / 60)) / 2, abs=1e-9)
    assert [row["name"] for row in report["per_class"]] == ["floor", "box", "wall"]
    assert report["per_class"][1]["semantic_iou"] == pytest.approx(0.75)
    assert report["images"] == 2
    assert report["per_image"][0]["PQ"] == 100.0
    assert report["per_image"][1]["PQ"] == pytest.approx(100 * (FLOOR_IOU + 1 / 1.5) / 2, abs=1e-9)


def test_segmenter_gives_the_numbers_by_hand(dataset):
    report = evaluate_segmenter(FakeSegmenter(), dataset, progress=False)
    check(report)
    assert report["timings_ms"] == {"preprocess": 1.0, "inference": 2.0, "postprocess": 3.0}


def test_class_that_the_data_set_lacks_is_named(dataset):
    segmenter = FakeSegmenter()
    wrong = LabelClass(name="dragon", is_thing=True, dataset_id=3, color=(0, 0, 0))
    segmenter.label_set = LabelSet(name="model", source="test", classes=(*FakeSegmenter.label_set.classes, wrong))
    with pytest.raises(InputError, match="class 'dragon', which the data set .panoptic_val. lacks"):
        evaluate_segmenter(segmenter, dataset, progress=False)


def store_predictions(folder, dataset):
    """The fake segmenter's predictions as a COCO panoptic result."""
    annotations = []
    (folder / "predictions").mkdir()
    for index in range(2):
        result = FakeSegmenter()(dataset[index].image)
        ids = np.where(result.panoptic == UNLABELLED_ID, 0, result.panoptic.astype(np.int32) + 1000)
        cv2.imwrite(str(folder / f"predictions/{index}.png"), rgb_from_ids(ids)[..., ::-1])
        segments = [{"id": s.id + 1000, "category_id": {"floor": 0, "box": 8}[s.class_name]} for s in result.segments]
        annotations.append({"image_id": index, "file_name": f"{index}.png", "segments_info": segments})
    (folder / "predictions.json").write_text(json.dumps({"annotations": annotations}))
    return folder / "predictions.json"


def test_stored_predictions_give_the_same(dataset, tmp_path):
    path = store_predictions(tmp_path, dataset)
    check(evaluate_predictions(path, dataset, progress=False))
    content = json.loads(path.read_text())
    path.write_text(json.dumps({"annotations": content["annotations"][:1]}))
    with pytest.raises(InputError, match=r"predictions\.json: no prediction for image 1"):
        evaluate_predictions(path, dataset, progress=False)
    del content["annotations"][0]["segments_info"][0]["category_id"]
    for text in ("{}", "[", json.dumps(content)):
        path.write_text(text)
        with pytest.raises(InputError, match=r"predictions\.json: expected predictions in COCO panoptic format"):
            evaluate_predictions(path, dataset, progress=False)


def test_command_writes_report_table_and_pictures(dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("yoso_ros.load_segmenter", lambda *arguments, **options: FakeSegmenter())
    output = tmp_path / "out"
    command = ["evaluate", "--data", str(tmp_path / "data"), "--output", str(output), "--pictures", "1"]
    assert main(command) == 0
    report = json.loads((output / "report.json").read_text())
    assert report["panoptic_quality"]["Stuff"]["N"] == 1 and report["backend"] == "fake"
    assert report["panoptic_quality"]["per_class"]["9"]["pq"] is None
    table = (output / "per_class.md").read_text()
    assert (
        f"| floor | stuff | {50 * (1 + FLOOR_IOU):.1f} | " in table
        and "| wall | stuff | - | - | - | - | 0 | 0 | 0 |" in table
    )
    best, worst = (read_image(output / f"{name}_1.png") for name in ("best", "worst"))
    rows = best.shape[0] - 10
    prediction, truth = best[rows:, 20:40], best[rows:, 40:]
    np.testing.assert_array_equal(prediction[:, :18], truth[:, :18])  # perfect; then the void's border
    difference = (worst[rows:, 20:40] != worst[rows:, 40:]).any(axis=-1)
    assert difference[6:9, 2:7].all()  # the missed box
    assert "mIoU" in capsys.readouterr().out


def test_command_on_stored_predictions_and_on_a_missing_data_set(dataset, tmp_path, capsys):
    path = store_predictions(tmp_path, dataset)
    output = tmp_path / "out"
    assert (
        main(["evaluate", "--data", str(tmp_path / "data"), "--predictions", str(path), "--output", str(output)]) == 0
    )
    assert json.loads((output / "report.json").read_text())["images"] == 2
    assert main(["evaluate", "--data", str(tmp_path / "nowhere")]) == 2
    assert "nowhere/panoptic_val.json" in capsys.readouterr().err


def test_maps_of_truth(dataset):
    sample = dataset[0]
    semantic = semantic_map(sample.ids, sample.segments, dataset.label_set)
    panoptic = truth_panoptic(sample.ids, sample.segments, dataset.label_set)
    assert semantic.dtype == np.uint8 and panoptic.dtype == np.uint16
    np.testing.assert_array_equal(panoptic >> 8, semantic)
    assert set(np.unique(panoptic).tolist()) == {0, 1 << 8 | 1, 1 << 8 | 2, UNLABELLED_ID}
    assert (panoptic[sample.ids == 0] == UNLABELLED_ID).all()
