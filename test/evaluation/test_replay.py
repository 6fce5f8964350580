# SPDX-License-Identifier: Apache-2.0
"""Evaluation on recordings: the same numbers as on the data set, whatever the way through the recording."""

import dataclasses
import math
import os
import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from patience import PATIENCE_S

from yoso_ros.bags import open_source
from yoso_ros.bags.frames import CompressedImage, Frame, rgb_image
from yoso_ros.bags.from_dataset import truth_labels, write_dataset_bag
from yoso_ros.bags.labels import TRUTH_PREFIX, LabelFrame, Labels, label_set_of
from yoso_ros.data import open_dataset
from yoso_ros.data.synthetic.dataset import Synthesis, write_dataset
from yoso_ros.errors import InputError
from yoso_ros.evaluation import evaluate_segmenter
from yoso_ros.evaluation.recordings.replay import evaluate_recording, with_truth
from yoso_ros.evaluation.recordings.stability import Stability
from yoso_ros.images.decoding import decode_compressed, decode_image
from yoso_ros.label_sets import load_label_set
from yoso_ros.results import UNLABELLED_ID, PanopticResult, segments_of


def decode(image):
    return decode_compressed(image) if isinstance(image, CompressedImage) else decode_image(image)


class Oracle:
    """Knows the truth of each picture by its exact pixels, and gives it moved by some pixels and with a hole."""

    def __init__(self, dataset, shift=2):
        self.label_set, self.calls = dataset.label_set, []
        self._answers = {}
        for sample in (dataset[i] for i in range(len(dataset))):
            panoptic, _ = truth_labels(sample.ids, sample.segments, dataset.label_set)
            panoptic = np.roll(panoptic, shift, axis=1)
            panoptic[: shift * 3, :11] = UNLABELLED_ID
            self._answers[sample.image.tobytes()] = panoptic

    def __call__(self, image):
        panoptic = self._answers[image.tobytes()]
        self.calls.append(len(self.calls))
        semantic = (panoptic >> 8).astype(np.uint8)
        confidence = np.where(semantic == 255, 0, 200).astype(np.uint8)
        segments = segments_of(panoptic, self.label_set, 0.75)
        return PanopticResult(panoptic, semantic, confidence, segments, {"inference": 3.0 + len(self.calls)})


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rendered")
    write_dataset(folder, Synthesis(count=5, width=96, height=64, split="val", frames_per_scene=5))
    return open_dataset(folder, "val")


@pytest.mark.parametrize(("storage", "transport"), [("mcap", "compressed"), ("sqlite3", "raw")])
def test_same_numbers_as_on_the_data_set(rendered, tmp_path, storage, transport):
    write_dataset_bag(rendered, tmp_path / "bag", storage, transport=transport)
    expected = evaluate_segmenter(Oracle(rendered), rendered, progress=False)
    assert 10 < expected["panoptic_quality"]["All"]["PQ"] < 95
    seen = []
    for _ in range(2):  # and the same once more
        source = open_source(tmp_path / "bag")
        labels = Labels(source.bag, TRUTH_PREFIX)
        report = evaluate_recording(
            Oracle(rendered), source, decode, labels, label_set_of(source.bag), seen.append, progress=False
        )
        for key in ("images", "panoptic_quality", "mean_iou"):
            assert report[key] == expected[key]
        np.testing.assert_equal(report["per_class"], expected["per_class"])
        assert [r["PQ"] for r in report["per_frame"]] == [i["PQ"] for i in expected["per_image"]]
        assert report["frames"] == {"in_recording": 5, "evaluated": 5, "undecodable": 0, "with_truth": 5}
        assert (
            report["latency_ms"]["inference"]["mean"] == pytest.approx(6)
            and report["latency_ms"]["inference"]["max"] == 8
        )
    assert [f.index for f in seen] == [*range(5), *range(5)] and len({f.stamp_ns for f in seen}) == 5
    for one, two in zip(seen[:5], seen[5:], strict=True):
        np.testing.assert_array_equal(one.image, two.image)
        ignore = {"latency_ms": 0}
        np.testing.assert_equal(one.row | ignore, two.row | ignore)
    matrix = np.array(report["confusion"]["matrix"])
    assert matrix.sum() == 5 * 96 * 64 and (np.diagonal(matrix) > 0).sum() >= 3


def test_same_numbers_with_a_crowd_and_void(tmp_path):
    labels = load_label_set("synthetic")
    floor = next(c.dataset_id for c in labels.classes if c.name == "floor")
    person = labels.classes[labels.thing_ids[0]].dataset_id
    ids = np.full((12, 20), 5, np.int32)
    ids[:4], ids[4:8, :8], ids[4:8, 10:] = 0, 6, 7
    image = np.zeros((12, 20, 3), np.uint8)
    image[4:8, 1:7], image[5:8, 11:] = 200, 200  # `Plain` takes both for one person
    image[4:8, 1:7, 0] = 0

    class Crowded:
        label_set = labels

        def __len__(self):
            return 1

        def __getitem__(self, index):
            kinds = ((5, floor, 0), (6, person, 0), (7, person, 1))
            segments = [{"id": i, "category_id": c, "iscrowd": crowd} for i, c, crowd in kinds]
            return SimpleNamespace(image=image, ids=ids, segments=segments, image_id=0, file_name="0")

    expected = evaluate_segmenter(Plain(), Crowded(), progress=False)
    counts = expected["panoptic_quality"]["per_class"][person]
    # What is found lies in the crowd and is no false positive; the single person is missed.
    assert (counts["tp"], counts["fp"], counts["fn"]) == (0, 0, 1)
    write_dataset_bag(Crowded(), tmp_path / "bag", transport="raw")
    source = open_source(tmp_path / "bag")
    report = evaluate_recording(
        Plain(), source, decode, Labels(source.bag, TRUTH_PREFIX), label_set_of(source.bag), progress=False
    )
    np.testing.assert_equal(report["panoptic_quality"], expected["panoptic_quality"])
    assert report["mean_iou"] == expected["mean_iou"]


def test_same_numbers_as_on_camvid_with_the_shipped_weights(shared_data, tmp_path):
    from yoso_ros import load_segmenter
    from yoso_ros.resources import checkpoint_path

    name = "yoso_mobilenetv2_camvid"
    if not checkpoint_path(name).is_file():
        pytest.skip(f"needs the shipped weights of {name}")
    whole = open_dataset(shared_data / "data/camvid", "val")

    class Part:
        label_set = whole.label_set

        def __len__(self):
            return 3

        def __getitem__(self, index):
            return whole[30 * index]

    segmenter = load_segmenter(name, device="cpu", engine="torch")
    write_dataset_bag(Part(), tmp_path / "bag")
    source = open_source(tmp_path / "bag")
    labels = Labels(source.bag, TRUTH_PREFIX)
    report = evaluate_recording(segmenter, source, decode, labels, label_set_of(source.bag), progress=False)
    expected = evaluate_segmenter(segmenter, Part(), progress=False)
    assert expected["panoptic_quality"]["All"]["PQ"] > 20
    assert report["panoptic_quality"] == expected["panoptic_quality"] and report["mean_iou"] == expected["mean_iou"]


class FakeSource(list):
    """Frames from memory."""


def frame(stamp, image):
    return Frame(stamp, "cam", image)


class Plain:
    """Calls everything floor but the pixels that are brighter than 100, which are one person."""

    label_set = load_label_set("synthetic")

    def __call__(self, image):
        names = [c.name for c in self.label_set.classes]
        floor, thing = names.index("floor"), self.label_set.thing_ids[0]
        panoptic = np.where(image[..., 0] > 100, thing << 8 | 1, floor << 8).astype(np.uint16)
        semantic = (panoptic >> 8).astype(np.uint8)
        return PanopticResult(
            panoptic, semantic, np.full(semantic.shape, 51, np.uint8), segments_of(panoptic, self.label_set), {}
        )


def test_frames_that_cannot_be_decoded_are_counted_and_the_others_evaluated():
    good = np.zeros((4, 6, 3), np.uint8)
    source = FakeSource([
        frame(1, rgb_image(good)), frame(2, CompressedImage("jpeg", np.zeros(9, np.uint8))), frame(3, rgb_image(good))
    ])  # fmt: skip
    report = evaluate_recording(Plain(), source, decode, progress=False)
    assert report["frames"] == {"in_recording": 3, "evaluated": 2, "undecodable": 1, "with_truth": 0}
    assert [r["index"] for r in report["per_frame"]] == [0, 2]
    assert len(report["undecodable"]) == 1 and report["undecodable"][0].startswith("frame 1: format 'jpeg' with ")
    assert "panoptic_quality" not in report and math.isnan(report["per_frame"][0]["PQ"])
    with pytest.raises(InputError, match="no frame could be evaluated; frame 0: .*expected a JPEG"):
        evaluate_recording(Plain(), FakeSource(source[1:2]), decode, progress=False)
    with pytest.raises(InputError, match="the recording has none"):
        evaluate_recording(Plain(), FakeSource(), decode, progress=False)


def label(stamp, panoptic, label_set):
    return LabelFrame(stamp, panoptic, segments_of(panoptic, label_set))


def test_truth_of_some_frames_only():
    labels = Plain.label_set
    image = np.zeros((4, 6, 3), np.uint8)
    image[:2] = 200
    truth = Plain()(image).panoptic
    source = FakeSource(frame(stamp, rgb_image(image)) for stamp in (10, 20, 30, 40))
    given = [label(s, truth, labels) for s in (5, 20, 25, 40, 50)]
    report = evaluate_recording(Plain(), source, decode, given, labels, progress=False)
    assert report["frames"]["with_truth"] == report["images"] == 2 and report["panoptic_quality"]["All"]["PQ"] == 100
    assert [math.isnan(r["PQ"]) for r in report["per_frame"]] == [True, False, True, False]
    pairs = [(f.stamp_ns, x and x.stamp_ns) for f, x in with_truth(source, given)]
    assert pairs == [(10, None), (20, 20), (30, None), (40, 40)]


def test_truth_that_does_not_fit_is_one_line():
    labels, image = Plain.label_set, np.zeros((4, 6, 3), np.uint8)
    source, truth = FakeSource([frame(1, rgb_image(image))]), Plain()(image).panoptic

    def run(given, label_set):
        evaluate_recording(Plain(), source, decode, given, label_set, progress=False)

    with pytest.raises(InputError, match=r"frame 0: expected two \(H, W\) maps of one size"):
        run([label(1, truth[:2], labels)], labels)
    turned = dataclasses.replace(labels, classes=labels.classes[::-1])
    with pytest.raises(InputError, match="frame 0: the truth has class .*another one in the label set"):
        run([label(1, truth, labels)], turned)
    with pytest.raises(InputError, match="the model has class"):
        run([label(1, truth, labels)], dataclasses.replace(labels, classes=labels.classes[:1]))


def test_stability_and_segments_by_hand():
    images = [np.zeros((4, 5, 3), np.uint8) for _ in range(4)]
    images[1][0] = images[2][0] = 200  # 5 of 20 pixels are a person in two of the frames
    report = evaluate_recording(
        Plain(), FakeSource(frame(i, rgb_image(x)) for i, x in enumerate(images, 1)), decode, progress=False
    )
    flicker, kept = report["stability"].pop("flicker_percent"), report["stability"].pop("tracks_kept_percent")
    assert flicker == 0 and kept == 50, "only the picture made the classes change; the thing is new, then kept"
    assert math.isnan(report["stability"].pop("flicker_true_percent"))
    assert report["stability"] == {
        "class_change_percent": pytest.approx((25 + 0 + 25) / 3),
        "unlabelled_percent": 0,
        "confidence_percent": pytest.approx(20),
        "segments_per_frame": 1.5,
        "segments_change_per_frame": pytest.approx(2 / 3),
    }
    rows = {r["name"]: r for r in report["segments"]}
    thing = Plain.label_set.classes[Plain.label_set.thing_ids[0]].name
    counts = {"frames": 2, "segments": 2, "per_frame": 0.5, "area_percent": 12.5, "score": 1.0}
    assert rows[thing] == {"name": thing, "is_thing": True, **counts}
    assert rows["floor"]["area_percent"] == 87.5 and rows["floor"]["frames"] == 4


def test_a_change_of_size_is_no_change_of_class():
    stability = Stability()
    for shape in ((4, 5), (2, 2), (2, 2)):
        panoptic = np.zeros(shape, np.uint16)
        result = SimpleNamespace(semantic=panoptic.astype(np.uint8), confidence=panoptic.astype(np.uint8), segments=[])
        last = stability.add(result)
    assert last["class_change_percent"] == 0 and stability.compute()["class_change_percent"] == 0


LONG_RUN = """
import sys
from types import SimpleNamespace
import numpy as np
from yoso_ros.bags import open_source
from yoso_ros.bags.labels import TRUTH_PREFIX, Labels, label_set_of
from yoso_ros.evaluation.recordings.distance import DistanceBands
from yoso_ros.evaluation.recordings.frame_counts import FrameCounts
from yoso_ros.evaluation.recordings.replay import evaluate_recording
from yoso_ros.evaluation.recordings.worst_frames import WorstFrames
from yoso_ros.results import PanopticResult, segments_of
from yoso_ros.images.decoding import decode_image

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

class Threshold:
    def __init__(self, label_set):
        self.label_set = label_set
    def __call__(self, image):
        panoptic = (image[..., 0] // 128).astype(np.uint16) << 8
        panoptic[image[..., 1] > 200] = self.label_set.thing_ids[0] << 8 | 1
        semantic = (panoptic >> 8).astype(np.uint8)
        return PanopticResult(panoptic, semantic, semantic, segments_of(panoptic, self.label_set), {"inference": 1.0})

source = open_source(sys.argv[1])
label_set = label_set_of(source.bag)
sizes, worst = [], WorstFrames(3, label_set, label_set, lambda image, panoptic: image)
def observe(frame):
    worst.add(frame)
    sizes.append(resident())
labels = Labels(source.bag, TRUTH_PREFIX)
random = np.random.default_rng(0)
more = {
    "depth": SimpleNamespace(at=lambda stamp: random.uniform(0, 30, (120, 160)).astype(np.float32)),
    "bands": DistanceBands(label_set),
    "frame_counts": FrameCounts(label_set),
}
report = evaluate_recording(
    Threshold(label_set), source, decode_image, labels, label_set, observe, progress=False, **more
)
assert report["tracking"]["true_tracks"] == 7 and report["tracking"]["matches"] >= 0
assert sum(row["pixels"] for row in report["distance"]) == 1000 * 120 * 160
assert len(more["frame_counts"].compute().names) == 1000
print(report["frames"]["with_truth"], len(worst.compute()), sizes[200], max(sizes[900:]))
"""


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc to see the resident memory")
def test_memory_does_not_grow_over_a_thousand_frames(tmp_path, storage):
    label_set = load_label_set("synthetic")

    class Noise:
        """A thousand pictures of 58 kB, 46 MB from the 200th on, with coarse random truth."""

        def __len__(self):
            return 1000

        def __getitem__(self, index):
            random = np.random.default_rng(index)
            image = random.integers(0, 256, (120, 160, 3), np.uint8)
            ids = cv2.resize(
                random.integers(1, 4, (6, 8)).astype(np.uint8), (160, 120), interpolation=cv2.INTER_NEAREST
            )
            stuff = [c.dataset_id for c in label_set.classes if not c.is_thing]
            segments = [{"id": i, "category_id": stuff[i - 1], "iscrowd": 0} for i in (1, 2)]
            thing = label_set.classes[label_set.thing_ids[0]].dataset_id
            segments.append({"id": 3, "category_id": thing, "iscrowd": 0, "track_id": 1 + index % 7})
            return SimpleNamespace(
                image=image, ids=ids.astype(np.int32), segments=segments, image_id=index, file_name=str(index)
            )

    Noise.label_set = label_set
    write_dataset_bag(Noise(), tmp_path / "bag", storage, transport="raw")
    done = subprocess.run(
        [sys.executable, "-c", LONG_RUN, str(tmp_path / "bag")], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    with_labels, pictures, early, late = done.stdout.split()
    assert (with_labels, pictures) == ("1000", "3")
    print(f"{early} MiB after 200 frames, {late} MiB at the end")
    assert float(late) - float(early) < 8, f"{early} MiB after 200 frames, {late} MiB at the end"
