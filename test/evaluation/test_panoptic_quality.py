# SPDX-License-Identifier: Apache-2.0
"""PQ equals a slow literal reading of panopticapi's rules on random maps; empty groups, bad input, merging."""

import json
import math
import warnings

import numpy as np
import pytest
from reference_quality import reference_counts

from yoso_ros.errors import InputError
from yoso_ros.evaluation import PanopticQuality

CATEGORIES = [{"id": i, "name": f"c{i}", "isthing": int(i < 30)} for i in (7, 0, 21, 90, 33, 64)]


def literal_counts(predicted_ids, predicted_segments, truth_ids, truth_segments):
    """The matching rules one pixel and one pair at a time: {category: [iou, tp, fp, fn]}."""
    shared, truth_area, predicted_area = {}, {}, {}
    for t, p in zip(truth_ids.ravel().tolist(), predicted_ids.ravel().tolist(), strict=True):
        shared[t, p] = shared.get((t, p), 0) + 1
        truth_area[t] = truth_area.get(t, 0) + 1
        predicted_area[p] = predicted_area.get(p, 0) + 1
    counts = {c["id"]: [0.0, 0, 0, 0] for c in CATEGORIES}
    matched_truth, matched_prediction = set(), set()
    for t in truth_segments:
        for p in predicted_segments:
            if t["iscrowd"] or t["category_id"] != p["category_id"]:
                continue
            both = shared.get((t["id"], p["id"]), 0)
            void = shared.get((0, p["id"]), 0)
            iou = both / (truth_area[t["id"]] + predicted_area[p["id"]] - both - void)
            if iou > 0.5:
                counts[t["category_id"]][0] += iou
                counts[t["category_id"]][1] += 1
                matched_truth.add(t["id"])
                matched_prediction.add(p["id"])
    crowd = {}
    for t in truth_segments:
        if t["iscrowd"]:
            crowd[t["category_id"]] = t["id"]
        elif t["id"] not in matched_truth:
            counts[t["category_id"]][3] += 1
    for p in predicted_segments:
        if p["id"] in matched_prediction:
            continue
        ignored = shared.get((0, p["id"]), 0) + shared.get((crowd.get(p["category_id"]), p["id"]), 0)
        if not ignored / predicted_area[p["id"]] > 0.5:
            counts[p["category_id"]][2] += 1
    return counts


def literal_means(counts):
    result = {}
    for name, wanted in (("All", (0, 1)), ("Things", (1,)), ("Stuff", (0,))):
        rows = [counts[c["id"]] for c in CATEGORIES if c["isthing"] in wanted and any(counts[c["id"]][1:])]
        pq = [iou / (tp + fp / 2 + fn / 2) for iou, tp, fp, fn in rows]
        sq = [iou / tp if tp else 0.0 for iou, tp, fp, fn in rows]
        rq = [tp / (tp + fp / 2 + fn / 2) for iou, tp, fp, fn in rows]
        result[name] = [100 * sum(v) / len(v) if rows else math.nan for v in (pq, sq, rq)] + [len(rows)]
    return result


def random_map(rng, shape, base=None):
    """Rectangles over each other, some void, some crowd; with `base`, a shifted copy of it with changed labels."""
    ids, category = np.zeros(shape, dtype=np.int32), {}
    if base is not None:
        base_ids, base_segments = base
        ids = np.roll(base_ids, rng.integers(-3, 4, 2), axis=(0, 1)).copy()
        keep = {s["id"]: s["category_id"] for s in base_segments if rng.random() < 0.9}
        ids[~np.isin(ids, list(keep))] = 0
        category = {
            i: c if rng.random() < 0.85 else int(rng.choice([k["id"] for k in CATEGORIES])) for i, c in keep.items()
        }
    for _ in range(int(rng.integers(0, 9 if base is None else 3))):
        top, left = rng.integers(0, shape[0] - 4), rng.integers(0, shape[1] - 4)
        height, width = rng.integers(4, shape[0]), rng.integers(4, shape[1])
        segment_id = int(rng.integers(1, 2**24)) if rng.random() < 0.85 else 0
        ids[top : top + height, left : left + width] = segment_id
        category[segment_id] = int(rng.choice([k["id"] for k in CATEGORIES]))
    segments = [
        {
            "id": i,
            "category_id": category[i],
            "iscrowd": int(base is None and rng.random() < 0.25),
            "area": int((ids == i).sum()),
        }
        for i in np.unique(ids).tolist()
        if i
    ]
    rng.shuffle(segments)
    return ids, segments


def random_pair(seed):
    rng = np.random.default_rng(seed)
    truth = random_map(rng, (40, 56))
    return *random_map(rng, (40, 56), base=truth), *truth


def test_equals_the_literal_reference():
    metric, expected = PanopticQuality(CATEGORIES), {c["id"]: [0.0, 0, 0, 0] for c in CATEGORIES}
    crowds = voids = matches = 0
    for seed in range(150):
        pair = random_pair(seed)
        metric.update(*pair)
        counts = literal_counts(*pair)
        image = metric.count(*pair)
        for row, category in zip(image, CATEGORIES, strict=True):
            np.testing.assert_allclose(row, counts[category["id"]], atol=1e-9)
        for key, row in counts.items():
            expected[key] = [a + b for a, b in zip(expected[key], row, strict=True)]
        crowds += sum(s["iscrowd"] for s in pair[3])
        voids += int((pair[2] == 0).any())
        matches += sum(row[1] for row in counts.values())
    assert crowds > 50 and voids > 50 and matches > 150  # the cases exercise the rules
    result = metric.compute()
    for name, values in literal_means(expected).items():
        np.testing.assert_allclose([result[name][k] for k in ("PQ", "SQ", "RQ", "N")], values, atol=1e-9)
    for key, (iou, tp, fp, fn) in expected.items():
        found = result["per_class"][key]
        assert (found["tp"], found["fp"], found["fn"]) == (tp, fp, fn)
        assert found["iou"] == pytest.approx(iou, abs=1e-9)
        assert found["pq"] == pytest.approx(iou / (tp + fp / 2 + fn / 2), abs=1e-12)


def test_baseline_of_the_benchmark_counts_the_same():
    for seed in range(60):
        pair = random_pair(seed)
        counts = literal_counts(*pair)
        for category, row in reference_counts(*pair).items():
            np.testing.assert_allclose(row, counts.pop(category), atol=1e-9)
        assert not any(any(row) for row in counts.values())  # of categories that are not in the image


def test_equals_panopticapi_on_stored_pairs(shared_data):
    folder = shared_data / "checks/pq"
    if not folder.is_dir():
        pytest.skip(f"needs the stored pairs in {folder}")
    cases, maps = json.loads((folder / "cases.json").read_text()), np.load(folder / "maps.npz")
    metric = PanopticQuality(cases["categories"])
    for i, (truth, predicted) in enumerate(cases["segments"]):
        metric.update(maps[f"p{i}"], predicted, maps[f"g{i}"], truth)
    result = metric.compute()
    for group in ("All", "Things", "Stuff"):
        for key, value in cases["expected"][group].items():
            assert result[group][key] == pytest.approx(value, abs=1e-9), (group, key)
    for key, values in cases["expected"]["per_class"].items():
        for name, value in values.items():
            assert result["per_class"][int(key)][name] == pytest.approx(value, abs=1e-12), (key, name)


def strip(*runs):
    """A one-row map from (id, length) runs."""
    return np.concatenate([np.full(n, i, dtype=np.int32) for i, n in runs])[None]


def things(*ids, crowd=()):
    return [{"id": i, "category_id": 7, "iscrowd": int(i in crowd)} for i in ids]


def quality(predicted, predicted_segments, truth, truth_segments):
    metric = PanopticQuality(CATEGORIES)
    metric.update(predicted, predicted_segments, truth, truth_segments)
    return metric.compute()["per_class"][7]


def test_void_and_crowd_rules_by_hand():
    # 40 % of a true segment left void: IoU 0.6; 60 %: missed
    assert quality(strip((0, 4), (1, 6)), things(1), strip((9, 10)), things(9))["pq"] == pytest.approx(0.6)
    missed = quality(strip((0, 6), (1, 4)), things(1), strip((9, 10)), things(9))
    assert (missed["tp"], missed["fp"], missed["fn"]) == (0, 1, 1)
    # predicted pixels on void do not count against the match
    assert quality(strip((1, 10)), things(1), strip((9, 4), (0, 6)), things(9))["pq"] == 1.0
    # exactly half is no match; just over half on void is no false positive, exactly half is one
    assert quality(strip((1, 5), (0, 5)), things(1), strip((9, 10)), things(9))["tp"] == 0
    assert quality(strip((1, 10), (2, 1)), things(1, 2), strip((0, 6), (9, 5)), things(9))["fp"] == 1
    assert quality(strip((1, 10)), things(1), strip((0, 5), (9, 5)), [{"id": 9, "category_id": 0}])["fp"] == 1
    # a true id that no segment claims is not void
    assert quality(strip((1, 10)), things(1), strip((9, 6), (4, 4)), things(9))["pq"] == pytest.approx(0.6)
    # of two crowd segments of a class only the last shields a prediction, as in panopticapi; a crowd is never missed
    truth, predicted = strip((8, 5), (9, 5)), strip((1, 5), (2, 5))
    found = quality(predicted, things(1, 2), truth, things(8, 9, crowd=(8, 9)))
    assert (found["tp"], found["fp"], found["fn"]) == (0, 1, 0)


def test_absent_groups_are_nan():
    empty = PanopticQuality(CATEGORIES).compute()
    assert empty["All"]["N"] == 0 and all(math.isnan(empty["All"][k]) for k in ("PQ", "SQ", "RQ"))
    metric = PanopticQuality(CATEGORIES)
    metric.update(strip((1, 4)), things(1), strip((9, 4)), things(9))
    result = metric.compute()
    assert result["Things"] == {"PQ": 100.0, "SQ": 100.0, "RQ": 100.0, "N": 1} == result["All"]
    assert result["Stuff"]["N"] == 0 and math.isnan(result["Stuff"]["PQ"])
    assert math.isnan(result["per_class"][0]["pq"]) and result["per_class"][0]["tp"] == 0


def test_merge_equals_one_metric():
    whole, parts = PanopticQuality(CATEGORIES), [PanopticQuality(CATEGORIES) for _ in range(2)]
    for seed in range(12):
        whole.update(*random_pair(seed))
        parts[seed % 2].update(*random_pair(seed))
    parts[0].merge(parts[1])
    np.testing.assert_allclose(parts[0].totals, whole.totals, atol=1e-12)
    with pytest.raises(InputError, match="same categories"):
        whole.merge(PanopticQuality(CATEGORIES[:2]))


def test_dtypes_do_not_matter():
    predicted, segments, truth, truth_segments = random_pair(4)
    ids = {old: new for new, old in enumerate([0, *(s["id"] for s in segments)])}
    small = np.vectorize(ids.get)(predicted)
    renamed = [{**s, "id": ids[s["id"]]} for s in segments]
    expected = PanopticQuality(CATEGORIES).count(predicted, segments, truth, truth_segments)
    for dtype in (np.uint8, np.uint16, np.int64):
        found = PanopticQuality(CATEGORIES).count(small.astype(dtype), renamed, truth.astype(np.int64), truth_segments)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (strip((1, 4)), [{"id": 1, "category_id": 5}], strip((9, 4)), things(9)),
            "predicted segment has category 5; known",
        ),
        (
            (strip((1, 4)), things(1), strip((9, 4)), [{"id": 9, "category_id": 5}]),
            "true segment has category 5; known",
        ),
        ((strip((1, 4), (3, 1)), things(1), strip((9, 5)), things(9)), "id 3 is in the map and not in the list"),
        ((strip((1, 4)), things(1, 2), strip((9, 4)), things(9)), "id 2 is in the list and not in the map"),
        ((strip((1, 4)), things(1), strip((9, 5)), things(9)), r"one size, found \(1, 5\) and \(1, 4\)"),
        ((strip((-1, 4)), things(1), strip((9, 4)), things(9)), "expected ids 0 to 16777215, found -1"),
        ((strip((1, 4)), things(1), strip((9, 4)).astype(float), things(9)), "expected integers, found float64"),
        ((strip((1, 4)), things(1, 0), strip((9, 4)), things(9)), "id 0 is void"),
    ],
)
def test_bad_input_is_named(arguments, message):
    metric = PanopticQuality(CATEGORIES)
    with pytest.raises(InputError, match=message):
        metric.update(*arguments)
    assert not metric.totals.any()


def test_wrong_area_warns_once_and_pixels_count():
    metric = PanopticQuality(CATEGORIES)
    wrong = [{"id": 9, "category_id": 7, "iscrowd": 0, "area": 1}]
    with pytest.warns(UserWarning, match="segment 9 says area 1 but has 10 pixels"):
        metric.update(strip((1, 10)), things(1), strip((9, 10)), wrong)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric.update(strip((1, 10)), things(1), strip((9, 10)), wrong)
    assert metric.compute()["All"]["PQ"] == 100.0
