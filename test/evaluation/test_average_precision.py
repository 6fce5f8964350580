# SPDX-License-Identifier: Apache-2.0
"""AP equals pycocotools run on JSON files, with either library; perfect predictions, crowds, absent groups."""

import json
import math
import sys

import numpy as np
import pytest
import torch

from yoso_ros.errors import InputError
from yoso_ros.evaluation import AveragePrecision, coco_api
from yoso_ros.evaluation.average_precision import NUMBERS, predicted_instances, true_instances
from yoso_ros.evaluation.coco_api import run_lengths
from yoso_ros.fusion import Instances

mask_api = pytest.importorskip("pycocotools.mask", reason="needs pycocotools, the oracle")

CATEGORIES = [
    {"id": 7, "name": "cup", "isthing": 1},
    {"id": 2, "name": "table", "isthing": 0},
    {"id": 3, "name": "chair", "isthing": 1},
    {"id": 5, "name": "dragon", "isthing": 1},
]
SIZE = (240, 320)


@pytest.fixture(params=["faster-coco-eval", "pycocotools"])
def library(request, monkeypatch):
    """Both libraries in turn; the one that is not meant is as if it were not installed."""
    if request.param == "pycocotools":
        monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    else:
        pytest.importorskip("faster_coco_eval")
    coco_api.load_coco_api.cache_clear()
    yield request.param
    coco_api.load_coco_api.cache_clear()


def random_image(rng):
    """Truth ids and segments, and predictions as (category, score, mask): the truth shifted, some twice, some wrong."""
    ids, segments, predictions = np.ones(SIZE, np.int32), [{"id": 1, "category_id": 2}], []
    for segment_id in range(2, 2 + rng.integers(1, 8)):
        side = rng.integers(6, 190)
        y, x = rng.integers(0, SIZE[0] - 5), rng.integers(0, SIZE[1] - 5)
        ids[y : y + side, x : x + side] = segment_id
        crowd = int(rng.random() < 0.15)
        segments.append({"id": segment_id, "category_id": int(rng.choice([3, 7])), "iscrowd": crowd})
    for segment in segments[1:]:
        for _ in range(rng.integers(0, 3)):
            mask = np.roll(ids == segment["id"], rng.integers(-6, 7, 2), (0, 1))
            category = segment["category_id"] if rng.random() < 0.8 else int(rng.choice([3, 5, 7]))
            # Few values, so that there are equal scores.
            predictions.append((category, round(float(rng.random()), 1), mask))
    return ids, segments, predictions


def as_predicted(predictions):
    """(category, score, mask) as the package's network would give them: through `Instances`."""
    categories = [3, 5, 7]
    masks = np.array([mask for *_, mask in predictions]).reshape(-1, *SIZE)
    instances = Instances(
        torch.tensor([categories.index(c) for c, *_ in predictions], dtype=torch.int64),
        torch.tensor([s for _, s, _ in predictions], dtype=torch.float64),
        torch.arange(len(predictions)),
        torch.from_numpy(masks),
    )
    return predicted_instances(instances, categories)


def pycocotools_on_files(images, folder):
    """The oracle: pycocotools on an annotation file and a result file; its `stats` and per-class AP."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def text(mask):
        lengths = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
        return {"size": lengths["size"], "counts": lengths["counts"].decode()}

    truth, results = [], []
    for image_id, (ids, segments, predictions) in images.items():
        for segment in segments:
            mask = ids == segment["id"]
            if segment["category_id"] != 2 and mask.any():
                entry = {"category_id": segment["category_id"], "iscrowd": segment["iscrowd"], "area": int(mask.sum())}
                truth.append({"id": len(truth) + 1, "image_id": image_id, **entry, "segmentation": text(mask)})
        results += [
            {"image_id": image_id, "category_id": c, "score": s, "segmentation": text(m)} for c, s, m in predictions
        ]
    content = {
        "info": {},
        "images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in images],
        "categories": [c for c in CATEGORIES if c["isthing"]],
        "annotations": truth,
    }
    (folder / "truth.json").write_text(json.dumps(content))
    (folder / "results.json").write_text(json.dumps(results))
    coco = COCO(str(folder / "truth.json"))
    evaluation = COCOeval(coco, coco.loadRes(str(folder / "results.json")), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    per_class = {
        c: values[values > -1].mean() if (values > -1).any() else math.nan
        for c, values in zip((3, 5, 7), evaluation.eval["precision"][:, :, :, 0, 2].transpose(2, 0, 1), strict=True)
    }
    return evaluation.stats[:6], per_class


def test_equals_pycocotools_on_files(library, tmp_path):
    rng = np.random.default_rng(3)
    images = {int(image_id): random_image(rng) for image_id in rng.permutation(1000)[:80]}
    metric, other = AveragePrecision(CATEGORIES), AveragePrecision(CATEGORIES)
    for place, (image_id, (ids, segments, predictions)) in enumerate(images.items()):
        truth = true_instances(ids, segments, CATEGORIES)
        (metric if place % 2 else other).update(image_id, as_predicted(predictions), truth)
    metric.merge(other)
    assert sum(len(predicted) for predicted, _ in metric.images.values()) > 255
    found, (stats, per_class) = metric.compute(), pycocotools_on_files(images, tmp_path)
    assert coco_api.load_coco_api().name == library
    assert 5 < found["AP"] < 95 and all(0 < found[name] < 100 for name in ("AP50", "AP75", "APm", "APl"))
    np.testing.assert_allclose([found[name] for name in NUMBERS], 100 * stats, rtol=0, atol=1e-9)
    assert found["per_class"] == pytest.approx(per_class, abs=1e-12, nan_ok=True)
    assert found["N"] == 2 and math.isnan(found["per_class"][5])


def test_perfect_predictions_give_100_and_crowds_do_not_count(library):
    ids = np.zeros(SIZE, np.int32)
    ids[2:22, 2:22], ids[2:62, 30:90], ids[70:75, :] = 11, 12, 13
    segments = [
        {"id": 11, "category_id": 3, "iscrowd": 0},
        {"id": 12, "category_id": 7},
        {"id": 13, "category_id": 3, "iscrowd": 1},
        {"id": 14, "category_id": 3, "iscrowd": 0},  # without a pixel
    ]
    truth = true_instances(ids, segments, CATEGORIES)
    assert [(t["category_id"], t["iscrowd"], t["area"]) for t in truth] == [(3, 0, 400), (7, 0, 3600), (3, 1, 1600)]
    metric = AveragePrecision(CATEGORIES)
    in_crowd = np.zeros(SIZE, bool)
    in_crowd[70:75, 10:40] = True
    predictions = [(3, 0.5, ids == 11), (7, 0.9, ids == 12), (3, 0.99, in_crowd)]
    metric.update("a", as_predicted(predictions), truth)
    result = metric.compute()
    assert [result[name] for name in ("AP", "AP50", "AP75", "APs", "APm")] == pytest.approx([100.0] * 5)
    assert math.isnan(result["APl"]) and result["N"] == 2 and math.isnan(result["per_class"][5])
    metric.update("b", as_predicted([(3, 1.0, ids == 12)]), [])  # an image of no truth: a false positive on top
    assert metric.compute()["per_class"][3] < 0.6


def test_absent_groups_are_nan(library):
    nothing = AveragePrecision(CATEGORIES)
    for metric in (nothing, AveragePrecision(CATEGORIES[1:2])):
        result = metric.compute()
        assert all(math.isnan(result[name]) for name in NUMBERS) and result["N"] == 0
    nothing.update(1, [], [])
    assert math.isnan(nothing.compute()["AP"]) and set(nothing.compute()["per_class"]) == {3, 5, 7}
    metric = AveragePrecision(CATEGORIES)
    ids = np.ones(SIZE, np.int32)
    metric.update(1, [], true_instances(ids, [{"id": 1, "category_id": 3}], CATEGORIES))
    assert metric.compute()["AP"] == 0.0 and metric.compute()["APl"] == 0.0 and math.isnan(metric.compute()["APs"])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools
def test_a_proposal_with_two_classes_keeps_its_mask(library):
    masks = np.zeros((2, 8, 9), bool)
    masks[0, 1:4, 2:6], masks[1, 5:, :3] = True, True
    instances = Instances(
        torch.tensor([1, 0, 1]), torch.tensor([0.9, 0.5, 0.1]), torch.tensor([4, 2, 2]),
        torch.from_numpy(masks[[0, 1, 1]]),
    )  # fmt: skip
    found = predicted_instances(instances, [30, 31])
    assert [p["category_id"] for p in found] == [31, 30, 31]
    decoded = [mask_api.decode(p["segmentation"]).astype(bool) for p in found]
    np.testing.assert_array_equal(decoded, masks[[0, 1, 1]])


def test_bad_input(monkeypatch):
    metric = AveragePrecision(CATEGORIES)
    metric.update(1, [], [])
    with pytest.raises(InputError, match="found 1 twice"):
        metric.update(1, [], [])
    with pytest.raises(InputError, match=r"predicted instance has category 2; known things: \[3, 5, 7\]"):
        metric.update(2, [{"category_id": 2}], [])
    for library in ("faster_coco_eval", "pycocotools"):
        monkeypatch.setitem(sys.modules, library, None)
    coco_api.load_coco_api.cache_clear()
    with pytest.raises(InputError, match=r'found neither; pip install "yoso-ros\[train\]"'):
        run_lengths(np.zeros((1, 2, 2), bool))
    coco_api.load_coco_api.cache_clear()
