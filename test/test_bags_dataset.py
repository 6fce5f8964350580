# SPDX-License-Identifier: Apache-2.0
"""Data sets to recordings and back to COCO files: nothing is lost but what the id rule cannot name."""

import dataclasses

import cv2
import numpy as np
import pytest

from yoso_ros.bags import CompressedImage, open_source
from yoso_ros.bags.bag import Bag
from yoso_ros.bags.from_dataset import truth_labels, write_dataset_bag
from yoso_ros.bags.labels import TRUTH_PREFIX, Labels, label_prefixes, label_set_of
from yoso_ros.bags.message_types import header, label_message, segments_message
from yoso_ros.bags.to_coco import write_coco
from yoso_ros.bags.writing import BagWriter
from yoso_ros.cli import main
from yoso_ros.data import CocoPanoptic, PanopticSample, open_dataset
from yoso_ros.data.synthetic.dataset import Synthesis, write_dataset
from yoso_ros.errors import InputError
from yoso_ros.evaluation import PanopticQuality
from yoso_ros.images.decoding import decode_compressed
from yoso_ros.label_sets import LabelClass, LabelSet
from yoso_ros.results import segments_of

LABELS = LabelSet(
    name="toy",
    source="here",
    classes=(
        LabelClass(name="floor", is_thing=False, dataset_id=7, color=(1, 2, 3)),
        LabelClass(name="car", is_thing=True, dataset_id=0, color=(4, 5, 6)),
        LabelClass(name="sky", is_thing=False, dataset_id=200, color=(7, 8, 9)),
    ),
)


def segment(number, category, iscrowd=0):
    return {"id": number, "category_id": category, "iscrowd": iscrowd}


class Toy:
    """One sample with every case: void, stuff in two parts, two cars, two crowds of cars, a crowd of stuff."""

    label_set = LABELS

    def __init__(self, folder):
        ids = np.zeros((6, 40), np.int32)
        for number, column in enumerate(range(3, 38, 4)):
            ids[1:5, column : column + 3] = 70000 + number
        self.segments = [
            segment(70000, 7), segment(70001, 7), segment(70002, 0), segment(70003, 0), segment(70004, 0, 1),
            segment(70005, 0, 1), segment(70006, 200, 1), segment(70007, 200),
        ]  # fmt: skip
        ids[ids == 70008] = 0
        self.ids, self.image = ids, np.random.default_rng(0).integers(0, 256, (6, 40, 3), np.uint8)
        self.path = folder / "toy picture.png"
        cv2.imwrite(str(self.path), self.image[..., ::-1])

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return PanopticSample(self.image, self.ids, self.segments, "toy", str(self.path))


def test_what_the_id_rule_makes_of_truth(tmp_path):
    toy = Toy(tmp_path)
    panoptic, lost = truth_labels(toy.ids, toy.segments, LABELS)
    expected = [0, 0, 1 << 8 | 1, 1 << 8 | 2, 1 << 8, 1 << 8, 65535, 2 << 8]
    assert [int(panoptic[2, 4 + 4 * i]) for i in range(8)] == expected
    assert (panoptic[toy.ids == 0] == 65535).all()
    assert lost == {"merged_crowds": 1, "merged_stuff": 1, "unlabelled_crowds": 1}


def test_more_things_than_the_id_rule_can_name():
    ids = np.arange(1, 301, dtype=np.int32).reshape(20, 15)
    panoptic, lost = truth_labels(ids, [segment(i, 0) for i in range(1, 301)], LABELS)
    assert len(np.unique(panoptic[panoptic != 65535])) == 255 and (panoptic == 65535).sum() == 45
    assert lost["unlabelled_things"] == 45


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_toy_to_bag_to_coco(tmp_path, storage, transport):
    toy = Toy(tmp_path)
    counts = write_dataset_bag(toy, tmp_path / "bag", storage, transport=transport)
    assert counts["frames"] == 1 and counts["merged_stuff"] == 1
    source = open_source(tmp_path / "bag")
    (frame,) = source
    assert isinstance(frame.image, CompressedImage) == (transport == "compressed") and frame.camera_info is None
    pixels = decode_compressed(frame.image) if transport == "compressed" else frame.image.data.reshape(6, 40, 3)
    np.testing.assert_array_equal(pixels, toy.image)
    assert label_set_of(source.bag) == LABELS and label_prefixes(source.bag.topics) == [TRUTH_PREFIX]
    assert write_coco(source.bag, TRUTH_PREFIX, tmp_path / "coco")["unpaired"] == 0
    back = CocoPanoptic(tmp_path / "coco/panoptic.json", tmp_path)  # checks ids, sizes and categories as it reads
    assert list(back.find_faults()) == []
    sample = back[0]
    assert (sample.image_id, sample.file_name) == ("toy", str(toy.path))
    # The two parts of the floor are one, the two crowds are one, the crowd of sky is void; the rest is as it was.
    pairs = set(zip(toy.ids.ravel().tolist(), sample.ids.ravel().tolist(), strict=True))
    mapping = dict(pairs)
    assert len(pairs) == len(mapping) and mapping[0] == mapping[70006] == 0
    assert mapping[70000] == mapping[70001] and mapping[70004] == mapping[70005]
    assert len(set(mapping.values())) == 6
    found = {s["id"]: (s["category_id"], s["iscrowd"]) for s in sample.segments}
    for s in toy.segments:
        if s["id"] != 70006:
            assert found[mapping[s["id"]]] == (s["category_id"], s["iscrowd"])


def check_same(original, back):
    """The same segments on every pixel, and PQ 100 against each other."""
    assert len(back) == len(original)
    quality = PanopticQuality(original.label_set.coco_categories())
    for index in range(len(original)):
        one, two = original[index], back[index]
        assert (one.image_id, one.file_name) == (two.image_id, two.file_name)
        pairs = set(zip(one.ids.ravel().tolist(), two.ids.ravel().tolist(), strict=True))
        assert len(pairs) == len(dict(pairs)) == len({b for _, b in pairs})
        facts = {s["id"]: (s["category_id"], s["iscrowd"], s["area"], s["bbox"]) for s in two.segments}
        for s in one.segments:
            expected = (s["category_id"], s["iscrowd"], s["area"], list(s["bbox"]))
            assert facts[dict(pairs)[s["id"]]] == expected
        assert len(one.segments) == len(two.segments)
        quality.update(two.ids, two.segments, one.ids, one.segments)
    assert quality.compute()["All"]["PQ"] == 100


def test_rendered_scenes_to_bag_to_coco(tmp_path, capsys):
    write_dataset(tmp_path / "data", Synthesis(count=6, width=96, height=64, split="val", frames_per_scene=3))
    command = [
        "bag",
        "from-dataset",
        "--data",
        str(tmp_path / "data"),
        "--output",
        str(tmp_path / "bag"),
        "--rate",
        "5",
    ]
    assert main(command) == 0
    assert main(command) == 2 and "already exists" in capsys.readouterr().err
    assert main(["bag", "to-coco", str(tmp_path / "bag"), "--output", str(tmp_path / "coco")]) == 0
    original = open_dataset(tmp_path / "data", "val")
    check_same(original, CocoPanoptic(tmp_path / "coco/panoptic.json", tmp_path / "data/images/val"))
    source = open_source(tmp_path / "bag")
    frames = list(source)
    assert source.rate_hz == pytest.approx(5) and frames[0].camera_info.width == 96
    assert frames[0].camera_info.k[2] == (96 - 1) / 2
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(decode_compressed(frame.image), original[index].image)
        np.testing.assert_array_equal(frame.image.data, np.fromfile(original[index].file_name, np.uint8))
    assert main(["bag", "info", str(tmp_path / "bag")]) == 0
    lines = capsys.readouterr().out
    assert "6      5.0 Hz  /ground_truth/panoptic/segments  yoso_ros/msg/PanopticSegmentArray" in lines


@pytest.mark.parametrize(("data", "split"), [("camvid", "val"), ("cityscapes_layout_sample", "train")])
def test_real_data_to_bag_to_coco(shared_data, tmp_path, data, split):
    root = shared_data / "data" / data
    if data == "cityscapes_layout_sample":
        split = next((root / "gtFine").iterdir()).name
    whole = open_dataset(root, split)

    class Part:
        label_set, annotations_json = whole.label_set, getattr(whole, "annotations_json", None)

        def __len__(self):
            return 4

        def __getitem__(self, index):
            return whole[index]

    write_dataset_bag(Part(), tmp_path / "bag", "sqlite3")
    write_coco(Bag(tmp_path / "bag"), TRUTH_PREFIX, tmp_path / "coco")
    back = CocoPanoptic(tmp_path / "coco/panoptic.json", tmp_path)
    back._image_path = lambda image: type(tmp_path)(
        next(s.file_name for s in map(whole.__getitem__, range(4)) if s.file_name.endswith(image["file_name"]))
    )
    check_same(Part(), back)


def labels_bag(path, change=None):
    """A recording of labels as a node publishes them, without label set; `change` of the segments message."""
    toy = Toy(path.parent)
    panoptic, _ = truth_labels(toy.ids, toy.segments, LABELS)
    segments = segments_of(panoptic, LABELS)
    with BagWriter(path) as writer:
        for stamp in (5, 6):
            head = header(stamp, "cam")
            writer.write("/yoso/panoptic/image_raw", stamp, label_message(panoptic, head))
            if stamp == 5:
                writer.write("/yoso/panoptic/segments", stamp, segments_message(segments[: change or 99], 6, 40, head))
    return Bag(path)


def test_labels_without_label_set_and_without_other_half(tmp_path):
    bag = labels_bag(tmp_path / "bag")
    assert write_coco(bag, "/yoso/panoptic", tmp_path / "coco") == {"images": 1, "segments": 5, "unpaired": 1}
    content = (tmp_path / "coco/panoptic.json").read_text()
    assert '"categories": [{"id": 1, "name": "floor", "isthing": 0}, {"id": 2, "name": "car", "isthing": 1}' in content
    other = dataclasses.replace(LABELS, classes=LABELS.classes[:2])
    with pytest.raises(InputError, match="class 'sky', which the label set lacks"):
        write_coco(bag, "/yoso/panoptic", tmp_path / "coco", other)
    with pytest.raises(InputError, match="expected /a/image_raw.*panoptic topics in it: /yoso/panoptic"):
        write_coco(bag, "/a", tmp_path / "coco")
    with pytest.raises(InputError, match="expected a camera image topic"):  # the label image is no picture
        open_source(tmp_path / "bag")


def test_labels_that_contradict_themselves(tmp_path):
    with pytest.raises(InputError, match="disagree on the ids"):
        list(Labels(labels_bag(tmp_path / "bag", 2), "/yoso/panoptic"))


@pytest.mark.parametrize("big", [0, 1])
def test_label_images_with_padding_and_of_either_byte_order(tmp_path, big):
    toy = Toy(tmp_path)
    panoptic, _ = truth_labels(toy.ids, toy.segments, LABELS)
    head = header(5, "cam")
    image = label_message(panoptic, head)
    rows = panoptic.astype(">u2" if big else "<u2").view(np.uint8).reshape(6, 80)
    image.step, image.is_bigendian = 83, big
    image.data = np.pad(rows, ((0, 0), (0, 3)), constant_values=7).reshape(-1)
    with BagWriter(tmp_path / "bag") as writer:
        writer.write("/a/panoptic/image_raw", 5, image)
        writer.write("/a/panoptic/segments", 6, segments_message(segments_of(panoptic, LABELS), 6, 40, head))
    (frame,) = Labels(Bag(tmp_path / "bag"), "/a/panoptic")
    np.testing.assert_array_equal(frame.panoptic, panoptic)
    assert frame.panoptic.dtype == np.uint16 and frame.stamp_ns == 5
    assert [s.id for s in frame.segments] == [s.id for s in segments_of(panoptic, LABELS)]


def test_an_interrupted_writer_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), BagWriter(tmp_path / "bag"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["from-dataset", "--data", "nowhere", "--output", "{}/x"], "nowhere"),
        (["from-dataset", "--data", "nowhere", "--output", "{}/x", "--rate", "0"], "--rate: expected more than 0"),
        (["to-coco", "{}", "--output", "{}/x"], "cannot be read"),
        (["info", "{}/nothing"], "cannot be read"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, command, message):
    assert main(["bag", *(part.format(tmp_path) for part in command)]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error
