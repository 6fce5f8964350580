# SPDX-License-Identifier: Apache-2.0
"""Flicker, tracking, distance and counts of frames on recordings, with segmenters whose mistakes are known."""

import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from yoso_ros.bags import open_source
from yoso_ros.bags.depth import DepthImages, NearestDepth, depth_topic
from yoso_ros.bags.from_dataset import write_dataset_bag
from yoso_ros.bags.labels import TRUTH_PREFIX, Labels, label_set_of
from yoso_ros.data import open_dataset
from yoso_ros.data.synthetic.dataset import Synthesis, write_dataset
from yoso_ros.evaluation.recordings.distance import DistanceBands
from yoso_ros.evaluation.recordings.frame_counts import FrameCounts
from yoso_ros.evaluation.recordings.replay import evaluate_recording
from yoso_ros.evaluation.recordings.stability import Stability
from yoso_ros.geometry.depth import decode_depth
from yoso_ros.images.decoding import decode_compressed
from yoso_ros.results import PanopticResult, segments_of
from yoso_ros.tracking import FIRST_THING_TRACK

FRAMES = 24


def rendered_bag(folder, frames_per_scene, seed):
    synthesis = Synthesis(
        count=FRAMES,
        width=128,
        height=96,
        split="val",
        frames_per_scene=frames_per_scene,
        rate_hz=10,
        depth=True,
        seed=seed,
    )
    write_dataset(folder / "data", synthesis)
    dataset = open_dataset(folder / "data", "val")
    write_dataset_bag(dataset, folder / "bag")
    return folder / "bag", dataset


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Two scenes of twelve frames at 10 Hz, with depth, track ids and truth: (bag folder, data set)."""
    return rendered_bag(tmp_path_factory.mktemp("two_scenes"), 12, 5)


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    """The same with one scene, which a camera could see."""
    return rendered_bag(tmp_path_factory.mktemp("one_scene"), FRAMES, 6)


class Remembered:
    """Gives the truth of each picture, told apart by its pixels, with the things numbered anew in every frame."""

    def __init__(self, bag, spoil=lambda panoptic, index: panoptic):
        source = open_source(bag)
        self.label_set = label_set_of(source.bag)
        labels = list(Labels(source.bag, TRUTH_PREFIX))
        self._answers = {
            decode_compressed(f.image).tobytes(): spoil(self._renumbered(label.panoptic, i), i)
            for i, (f, label) in enumerate(zip(source, labels, strict=True))
        }

    def _renumbered(self, panoptic, index):
        table, random = np.arange(1 << 16, dtype=np.uint16), np.random.default_rng(index)
        for class_id in self.label_set.thing_ids:
            values = [v for v in np.unique(panoptic).tolist() if v >> 8 == class_id]
            table[values] = class_id << 8 | (1 + random.permutation(len(values)))
        return table[panoptic]

    def __call__(self, image):
        panoptic = self._answers[image.tobytes()]
        semantic = (panoptic >> 8).astype(np.uint8)
        return PanopticResult(panoptic, semantic, semantic, segments_of(panoptic, self.label_set), {})


def evaluated(bag, segmenter, **more):
    source = open_source(bag)
    return evaluate_recording(
        segmenter,
        source,
        decode_compressed,
        Labels(source.bag, TRUTH_PREFIX),
        label_set_of(source.bag),
        progress=False,
        **more,
    )


def test_track_ids_and_depth_of_a_rendered_data_set_are_in_the_recording(recording):
    bag, dataset = recording
    source = open_source(bag)
    depths = DepthImages(source.bag, depth_topic(source.bag), decode_depth)
    seen = {}
    for index, (label, (stamp, depth)) in enumerate(zip(Labels(source.bag, TRUTH_PREFIX), depths, strict=True)):
        sample = dataset[index]
        objects = {s["id"]: s["track_id"] for s in sample.segments}
        for segment in label.segments:
            (number,) = np.unique(sample.ids[label.panoptic == segment.id])
            scene = index // 12
            expected = FIRST_THING_TRACK + 256 * scene + objects[number] if segment.is_thing else 0
            assert segment.track_id == expected
            seen.setdefault(segment.track_id, set()).add(scene)
        assert stamp == label.stamp_ns
        path = dataset.annotations_json.parent / "depth_val" / f"{index // 12:05d}_{index % 12:03d}.png"
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        np.testing.assert_allclose(np.nan_to_num(depth()), stored / 1000, rtol=1e-6)
    assert all(len(scenes) == 1 for track, scenes in seen.items() if track) and len(seen) > 10


def test_truth_as_prediction_is_tracked_nearly_without_fault(drive):
    bag, _ = drive
    bands, counts = DistanceBands(label_set_of(open_source(bag).bag)), FrameCounts(label_set_of(open_source(bag).bag))
    source = open_source(bag)
    depth = NearestDepth(DepthImages(source.bag, depth_topic(source.bag), decode_depth))
    report = evaluated(bag, Remembered(bag), depth=depth, bands=bands, frame_counts=counts)
    tracking = report["tracking"]
    print({k: v for k, v in tracking.items() if k != "VPQ_per_window"})
    assert report["panoptic_quality"]["All"]["PQ"] == tracking["VPQ_per_window"]["1"] == tracking["SQ"] == 100
    assert tracking["STQ"] > 97 and tracking["VPQ"] > 97 and tracking["id_consistency_percent"] > 98
    assert report["stability"]["flicker_percent"] < 5 and report["stability"]["flicker_true_percent"] == 0
    rows = report["distance"]
    assert all(r["PQ"] == r["recall"] == r["mean_iou"] == 100 for r in rows if r["true_segments"])
    assert sum(r["pixels"] for r in rows) == FRAMES * 128 * 96
    assert [r["name"] for r in rows if r["true_segments"]][-1] == "depth unknown", "the sky"
    whole = counts.compute()
    assert whole.names.tolist() == [str(r["stamp_ns"]) for r in report["per_frame"]]
    for row, totals in zip(report["per_class"], whole.panoptic.sum(axis=0), strict=True):
        assert (row["tp"], row["fp"], row["fn"]) == tuple(totals[1:])


def test_ids_that_never_hold(recording):
    class Forgetful:
        """Gives new ids in every frame."""

        def __init__(self):
            self._next = 1000

        def update(self, result, stamp_ns):
            import dataclasses

            segments = []
            for s in result.segments:
                self._next += 1
                segments.append(dataclasses.replace(s, track_id=self._next))
            return dataclasses.replace(result, segments=segments)

    bag, _ = recording
    tracking = evaluated(bag, Remembered(bag), tracker=Forgetful())["tracking"]
    assert tracking["VPQ_per_window"]["1"] == 100 and tracking["VPQ_per_window"]["4"] < 60
    assert tracking["AQ"] < 30 and tracking["id_consistency_percent"] == 0
    assert tracking["STQ"] == pytest.approx(math.sqrt(tracking["AQ"] * tracking["SQ"]))


def test_a_far_thing_that_is_missed_counts_in_its_band_only(recording):
    bag, _ = recording
    source = open_source(bag)
    depths = {stamp: depth() for stamp, depth in DepthImages(source.bag, depth_topic(source.bag), decode_depth)}
    labels, order = label_set_of(source.bag), sorted(depths)

    def without_far_things(panoptic, index):
        depth, panoptic = depths[order[index]], panoptic.copy()
        for value in np.unique(panoptic):
            if value >> 8 in labels.thing_ids and np.nanmedian(depth[panoptic == value]) > 5.5:
                panoptic[panoptic == value] = 65535
        return panoptic

    depth = SimpleNamespace(at=depths.get)
    segmenter = Remembered(bag, without_far_things)
    rows = evaluated(bag, segmenter, depth=depth, bands=DistanceBands(labels, (5.5,)))["distance"]
    near, far, _ = rows
    assert near["PQ_things"] == near["recall"] == 100 and far["PQ_things"] == 0 < far["true_segments"]


def test_without_track_ids_or_depth_nothing_is_said(recording):
    bag, _ = recording
    source = open_source(bag)
    labels = [
        SimpleNamespace(
            stamp_ns=label.stamp_ns,
            panoptic=label.panoptic,
            segments=segments_of(label.panoptic, label_set_of(source.bag)),
        )
        for label in Labels(source.bag, TRUTH_PREFIX)
    ]
    report = evaluate_recording(
        Remembered(bag), source, decode_compressed, labels, label_set_of(source.bag), progress=False
    )
    assert "tracking" not in report and "distance" not in report


def result(semantic):
    return SimpleNamespace(semantic=np.asarray(semantic, np.uint8), confidence=np.zeros((4, 4), np.uint8), segments=[])


def test_flicker_by_hand():
    still = np.full((4, 4, 3), 90, np.uint8)
    moved = still + 60
    ground = np.zeros((4, 4), np.uint16)
    half_void = ground.copy()
    half_void[:2] = 65535
    flipped = np.zeros((4, 4), int)
    flipped[0] = 1
    stability = Stability()
    rows = [
        stability.add(result(np.zeros((4, 4))), still, ground),
        stability.add(result(flipped), still + 2, ground),  # a row changes for no reason
        stability.add(result(np.zeros((4, 4))), moved, half_void),  # the picture changes, and half of the truth is void
    ]
    assert [r["class_change_percent"] for r in rows[1:]] == [25, 25]
    assert rows[1]["flicker_percent"] == 25 and math.isnan(rows[2]["flicker_percent"]), "nothing is still"
    assert rows[1]["flicker_true_percent"] == 25 and rows[2]["flicker_true_percent"] == 0
    total = stability.compute()
    assert total["flicker_percent"] == 25 and total["flicker_true_percent"] == pytest.approx(100 * 4 / 24)
    assert math.isnan(Stability().compute()["flicker_percent"])


def test_noise_is_still_and_an_edge_that_moves_is_not():
    random, stability = np.random.default_rng(0), Stability()
    picture = np.full((60, 80, 3), 120.0)
    picture[:, 40:] = 200
    semantic = SimpleNamespace(
        semantic=np.zeros((60, 80), np.uint8), confidence=np.zeros((60, 80), np.uint8), segments=[]
    )
    changed = SimpleNamespace(semantic=np.ones((60, 80), np.uint8), confidence=semantic.confidence, segments=[])

    def noisy(shift):
        return (np.roll(picture, shift, axis=1) + random.normal(0, 2, picture.shape)).clip(0, 255).astype(np.uint8)

    stability.add(semantic, noisy(0))
    stability.add(changed, noisy(0))
    still = stability._still[1] / (60 * 80)
    stability.add(changed, noisy(6))
    moved = stability._still[1] / (60 * 80) - still
    # Two edges, the one in the middle and the one where the picture wraps, of 6 pixels and the blur on both sides.
    assert still > 0.99 and 0.6 < moved < 0.85
