# SPDX-License-Identifier: Apache-2.0
"""Instance and semantic tasks of `yoso-ros evaluate`: numbers by hand, stored results, COCO annotations, sizes."""

import json
import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

import yoso_ros
from yoso_ros.cli import main
from yoso_ros.data import CocoPanoptic
from yoso_ros.data.samples import rgb_from_ids
from yoso_ros.errors import InputError
from yoso_ros.evaluation import evaluate_predictions, evaluate_segmenter
from yoso_ros.evaluation.average_precision import NUMBERS
from yoso_ros.evaluation.coco_api import run_lengths
from yoso_ros.evaluation.coco_instances import CocoInstances
from yoso_ros.fusion import Instances
from yoso_ros.inference.frame_outputs import FrameOutputs
from yoso_ros.label_sets import LabelClass, LabelSet, load_label_set

CATEGORIES = [
    {"id": 4, "name": "floor", "isthing": 0},
    {"id": 8, "name": "box", "isthing": 1},
    {"id": 9, "name": "wall", "isthing": 0},
    {"id": 11, "name": "cup", "isthing": 1},
]
SHAPE = (40, 60)
BOXES = (slice(2, 20), slice(2, 20)), (slice(22, 38), slice(2, 25))


def truth_ids():
    """40x60: floor, two boxes, void in the last column."""
    ids = np.full(SHAPE, 5, dtype=np.int32)
    ids[BOXES[0]], ids[BOXES[1]], ids[:, 59] = 6, 7, 0
    return ids


@pytest.fixture
def dataset(tmp_path):
    root = tmp_path / "data"
    (root / "images/val").mkdir(parents=True)
    (root / "panoptic_val").mkdir()
    segments = [
        {"id": i, "category_id": c, "iscrowd": 0, "area": int((truth_ids() == i).sum()), "bbox": [0, 0, 1, 1]}
        for i, c in ((5, 4), (6, 8), (7, 8))
    ]
    content = {"images": [], "annotations": [], "categories": CATEGORIES}
    for index in (0, 1):
        cv2.imwrite(str(root / f"images/val/{index}.png"), np.full((*SHAPE, 3), 50 + index, np.uint8))
        cv2.imwrite(str(root / f"panoptic_val/{index}.png"), rgb_from_ids(truth_ids())[..., ::-1])
        content["images"].append({"id": index, "file_name": f"{index}.png"})
        content["annotations"].append({"image_id": index, "file_name": f"{index}.png", "segments_info": segments})
    (root / "panoptic_val.json").write_text(json.dumps(content))
    return CocoPanoptic.from_root(root, "val")


# The model's order differs from the data set's, so class ids must be found by name.
BOX, FLOOR = 0, 1
SEGMENTER = SimpleNamespace(
    backend="fake",
    label_set=LabelSet(
        name="model",
        source="test",
        classes=(
            LabelClass(name="box", is_thing=True, dataset_id=0, color=(1, 2, 3)),
            LabelClass(name="floor", is_thing=False, dataset_id=1, color=(4, 5, 6)),
        ),
    ),
)


def outputs(segmenter, image, tasks):
    """Perfect on the first image; on the second it finds one box of the two, which is floor in its semantic map."""
    ids, first = truth_ids(), image[0, 0, 0] == 50
    masks = np.stack([ids == 6, ids == 7][: 2 if first else 1])
    found = Instances(
        torch.full((len(masks),), BOX), torch.tensor([0.9, 0.8][: len(masks)]), torch.arange(len(masks)),
        torch.from_numpy(masks),
    )  # fmt: skip
    semantic = np.where((ids == 6) | ((ids == 7) & first), BOX, FLOOR).astype(np.uint8)
    return FrameOutputs(None, found, semantic, {"inference": 2.0})


def test_numbers_by_hand(dataset):
    report = evaluate_segmenter(SEGMENTER, dataset, False, ("instance", "semantic"), outputs)
    # Three boxes of four are found, all exact: precision 1 at the 76 recalls 0.00 to 0.75 of 101, else 0.
    found = report["average_precision"]
    assert found["AP"] == found["AP50"] == found["AP75"] == pytest.approx(100 * 76 / 101, abs=1e-9)
    assert found["N"] == 1 and math.isnan(found["APl"]) and math.isnan(found["per_class"][11])
    floor = int((truth_ids() == 5).sum())
    missed, box = 16 * 23, 18 * 18
    iou = {"floor": 2 * floor / (2 * floor + missed), "box": (2 * box + missed) / (2 * box + 2 * missed)}
    assert report["semantic_mean_iou"] == pytest.approx(50 * sum(iou.values()), abs=1e-9)
    rows = {row["name"]: row for row in report["per_class"]}
    assert rows["box"]["semantic_output_iou"] == pytest.approx(iou["box"])
    assert rows["box"]["ap"] == pytest.approx(76 / 101) and math.isnan(rows["floor"]["ap"])
    assert math.isnan(rows["wall"]["semantic_output_iou"]) and "pq" not in rows["box"]
    assert report["timings_ms"] == {"inference": 2.0} and "panoptic_quality" not in report
    with pytest.raises(InputError, match="expected tasks of panoptic, instance, semantic, found boxes"):
        evaluate_segmenter(SEGMENTER, dataset, False, ("boxes",), outputs)


def stored_results(dataset):
    """The same instances as COCO results."""
    results = []
    for index in (0, 1):
        found = outputs(None, dataset[index].image, ()).instances
        for score, mask in zip(found.scores.tolist(), found.masks.numpy(), strict=True):
            (lengths,) = run_lengths(mask[None])
            lengths = {"size": list(lengths["size"]), "counts": lengths["counts"].decode()}
            results.append({"image_id": index, "category_id": 8, "score": score, "segmentation": lengths})
    return results


def test_stored_instance_results(dataset, tmp_path, capsys):
    path, results = tmp_path / "results.json", stored_results(dataset)
    path.write_text(json.dumps(results))
    expected = evaluate_segmenter(SEGMENTER, dataset, False, ("instance",), outputs)["average_precision"]
    found = evaluate_predictions(path, dataset, progress=False)["average_precision"]
    np.testing.assert_array_equal([found[name] for name in NUMBERS], [expected[name] for name in NUMBERS])
    output = tmp_path / "out"
    command = ["evaluate", "--data", str(tmp_path / "data"), "--predictions", str(path), "--output", str(output)]
    assert main(command) == 0
    assert "| 75.2 | 75.2 | 75.2 |" in capsys.readouterr().out
    assert "| box | thing | 75.2 |" in (output / "per_class.md").read_text()
    assert json.loads((output / "report.json").read_text())["average_precision"]["APl"] is None
    path.write_text("[]")
    assert evaluate_predictions(path, dataset, progress=False)["average_precision"]["AP"] == 0.0
    first = results[0]
    for fault, message in (
        ({k: v for k, v in first.items() if k != "score"}, r"\[0\] lacks score"),
        ({**first, "segmentation": [[1, 2, 3, 4, 5, 6]]}, "expected compressed run lengths"),
        ({**first, "segmentation": {**first["segmentation"], "size": [60, 40]}}, r"size \[60, 40\], not \[40, 60\]"),
        ({**first, "category_id": 4}, r"0\.png: a predicted instance has category 4; known things: \[8, 11\]"),
    ):
        path.write_text(json.dumps([fault]))
        with pytest.raises(InputError, match=message):
            evaluate_predictions(path, dataset, progress=False)


def test_coco_annotations_as_truth(dataset, tmp_path):
    """The second box is a polygon, cut in two parts; a third one is in the annotations only."""
    rows, columns = BOXES[1]
    corners = [[columns.start, rows.start], [columns.stop, rows.start], [columns.stop, 30], [columns.start, 30]]
    below = [[columns.start, 30], [columns.stop, 30], [columns.stop, rows.stop], [columns.start, rows.stop]]
    lengths = run_lengths((truth_ids() == 6)[None])[0]
    segmentations = [
        {"size": list(SHAPE), "counts": lengths["counts"].decode()},
        [np.ravel(corners).tolist(), np.ravel(below).tolist()],
        {"size": list(SHAPE), "counts": [0, 40 * 30, 40 * 30]},
    ]
    content = {
        "images": [{"id": 0}, {"id": 1}],
        "categories": [{"id": 8, "name": "box"}],
        "annotations": [
            {"image_id": image, "category_id": 8, "segmentation": s, "iscrowd": 0, "area": 100}
            for image in (0, 1)
            for s in segmentations
        ],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    truth = CocoInstances(path, dataset.label_set)
    report = evaluate_segmenter(SEGMENTER, dataset, False, ("instance",), outputs, truth)
    # Three of six: recalls 0.00 to 0.50.
    assert report["average_precision"]["AP"] == pytest.approx(100 * 51 / 101, abs=1e-9)
    assert report["average_precision"]["APs"] == pytest.approx(100 * 51 / 101, abs=1e-9)  # by the area of the file
    path.write_text(json.dumps({**content, "images": content["images"][:1], "annotations": []}))
    with pytest.raises(InputError, match="has no image 1"):
        evaluate_segmenter(SEGMENTER, dataset, False, ("instance",), outputs, CocoInstances(path, dataset.label_set))
    for fault, message in (
        ({**content, "categories": [{"id": 8, "name": "dog"}]}, "category 8 'dog' is not a thing of label set"),
        ({"images": []}, "expected a list of objects under .annotations. .COCO instances"),
    ):
        path.write_text(json.dumps(fault))
        with pytest.raises(InputError, match=message):
            CocoInstances(path, dataset.label_set)


@pytest.fixture(scope="module")
def segmenter():
    return yoso_ros.load_segmenter("yoso_mobilenetv2_synthetic", engine="torch", device="cpu")


def test_outputs_of_one_pass(segmenter):
    frame = np.random.default_rng(0).integers(0, 256, (70, 110, 3), dtype=np.uint8)
    frame[20:50, 30:60] = (200, 30, 30)
    found = segmenter.outputs(frame, ("panoptic", "instance", "semantic"))
    expected = segmenter(frame)
    np.testing.assert_array_equal(found.panoptic.panoptic, expected.panoptic)
    assert found.panoptic.segments == expected.segments
    assert found.panoptic.timings_ms == found.timings_ms and set(found.timings_ms) == set(expected.timings_ms)
    things = set(segmenter.label_set.thing_ids)
    assert 0 < len(found.instances.scores) <= 100 and set(found.instances.class_ids.tolist()) <= things
    assert found.instances.masks.shape[1:] == found.semantic.shape == (70, 110) and found.semantic.dtype == np.uint8
    alone = segmenter.outputs(frame, ("semantic",))
    assert alone.panoptic is None and alone.instances is None
    np.testing.assert_array_equal(alone.semantic, found.semantic)


def test_several_sizes(tmp_path, segmenter, monkeypatch, capsys):
    from yoso_ros.data.synthetic.dataset import Synthesis, write_dataset

    write_dataset(tmp_path / "data", Synthesis(count=2, width=96, height=64, split="val", frames_per_scene=1))
    monkeypatch.setattr("yoso_ros.load_segmenter", lambda *arguments, **options: segmenter)
    seen, engine = [], segmenter.engine

    class Watch:
        backend, device, size_divisor = engine.backend, engine.device, engine.size_divisor
        synchronize = staticmethod(engine.synchronize)

        def __call__(self, images):
            seen.append(tuple(images.shape[2:]))
            return engine(images)

    monkeypatch.setattr(segmenter, "engine", Watch())
    output = tmp_path / "out"
    command = ["evaluate", "--data", str(tmp_path / "data"), "--model", "yoso_mobilenetv2_synthetic"]
    command += ["--tasks", "instance", "--output", str(output), "--shortest-edge"]
    assert main([*command, "64", "96"]) == 0
    assert seen == [(64, 96), (64, 96), (96, 160), (96, 160)]  # 144 wide, padded
    lines = (output / "scales.md").read_text().splitlines()
    assert lines[0] == "| shortest edge | longest | AP | AP50 | AP75 | APs | APm | APl | ms |"
    ratio = segmenter.config.longest_edge / segmenter.config.shortest_edge
    assert [line.split(" | ")[:2] for line in lines[2:]] == [
        [f"| {edge}", str(round(edge * ratio))] for edge in (64, 96)
    ]
    scales = json.loads((output / "report.json").read_text())["scales"]
    own = json.loads((output / "96/report.json").read_text())
    assert scales[1]["average_precision"] == own["average_precision"] and own["shortest_edge"] == 96
    assert not list(output.rglob("*.png"))
    assert main([*command, "96", "--tasks", "boxes"]) == 2
    assert "--tasks: expected some of panoptic,instance,semantic, found 'boxes'" in capsys.readouterr().err
    assert main([*command, "0"]) == 2
    assert "expected 1 or more, found 0" in capsys.readouterr().err
    assert list(NUMBERS) == lines[0].split(" | ")[2:8]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools
def test_real_annotations_equal_pycocotools(shared_data):
    """Polygons of many parts and crowds of COCO itself."""
    from pycocotools import mask as mask_api

    path = shared_data / "data/coco_tiny/annotations/instances_train2017.json"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    truth, content, compared = CocoInstances(path, load_label_set("coco_panoptic")), json.loads(path.read_text()), 0
    for image in content["images"][:30]:
        size = image["height"], image["width"]
        annotations = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        found = truth(SimpleNamespace(image_id=image["id"], ids=np.empty(size, np.uint8)))
        for instance, annotation in zip(found, annotations, strict=True):
            lengths = mask_api.frPyObjects(annotation["segmentation"], *size)
            lengths = mask_api.merge(lengths) if isinstance(lengths, list) else lengths
            assert int((mask_api.decode(instance["segmentation"]) != mask_api.decode(lengths)).sum()) == 0
            assert [instance[k] for k in ("area", "iscrowd")] == [annotation[k] for k in ("area", "iscrowd")]
            compared += 1
    assert compared > 100
