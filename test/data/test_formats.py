# SPDX-License-Identifier: Apache-2.0
"""Formats of annotation tools: what goes out comes back pixel by pixel, and files as the tools write them are read."""

import json

import cv2
import numpy as np
import pytest
import yaml

from yoso_ros.bags.from_dataset import truth_labels
from yoso_ros.cli import main
from yoso_ros.data import open_dataset
from yoso_ros.data.coco_panoptic_writer import CocoPanopticWriter, measured_segments, panoptic_png
from yoso_ros.data.formats.voc_masks import voc_color
from yoso_ros.label_sets import LabelClass, LabelSet

coco_mask = pytest.importorskip("pycocotools.mask", reason="needs pycocotools, of the extra train")

HEIGHT, WIDTH = 40, 60
LABELS = LabelSet(
    name="toy",
    source="here",
    classes=(
        LabelClass(name="hall floor", is_thing=False, dataset_id=7, color=(90, 90, 90)),
        LabelClass(name="cart", is_thing=True, dataset_id=3, color=(200, 10, 10)),
        LabelClass(name="wall", is_thing=False, dataset_id=12, color=(90, 90, 90)),
    ),
)


def scene(shift=0, crowd=True):
    """Void at the left, floor with a hole, two carts that touch, one in two parts with single pixels, a crowd."""
    ids = np.zeros((HEIGHT, WIDTH), np.int32)
    ids[:20, 4:], ids[20:, 4:] = 900, 5
    ids[24:34, 10:20], ids[24:34, 20:30], ids[3, 50 + shift], ids[27:29, 13:16] = 70000, 8, 70000, 5
    ids[30:36, 40:55] = 66 if crowd else 5
    entries = [(5, 7, 0), (900, 12, 0), (70000, 3, 0), (8, 3, 0), (66, 3, 1)]
    segments = [{"id": i, "category_id": c, "iscrowd": crowd} for i, c, crowd in entries]
    return ids, measured_segments(ids, segments)


def png(array):
    return cv2.imencode(".png", array)[1].tobytes()


def picture(seed):
    return np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture
def own(tmp_path):
    """A data set of two images, one with a crowd."""
    writer = CocoPanopticWriter(tmp_path / "own", "train", LABELS)
    for number in range(2):
        ids, segments = scene(number, crowd=number == 1)
        writer.add(f"hall_{number}.png", png(picture(number)), panoptic_png(ids), ids.shape, segments)
    writer.finish({})
    return tmp_path / "own"


def panoptic(folder, split="train"):
    """Labels of a data set by the id rule, with instances in the order of their places, and its images."""
    dataset = open_dataset(folder, split)
    maps = []
    for sample in (dataset[i] for i in range(len(dataset))):
        ordered = sorted(sample.segments, key=lambda s: int(np.flatnonzero(sample.ids == s["id"])[0]))
        maps.append(truth_labels(sample.ids, ordered, dataset.label_set)[0])
    return maps, [dataset[i].image for i in range(len(dataset))], dataset.label_set


EXACT = ["coco-panoptic", "coco-instances", "coco-instances --one-file", "voc-masks", "index-masks", "cityscapes"]


@pytest.mark.parametrize("name", EXACT)
def test_a_round_trip_keeps_every_pixel(own, tmp_path, name, capsys):
    form, *more = name.split()
    out, back = tmp_path / "out", tmp_path / "back"
    assert main(["data", "export", str(own), "--format", form, "--output", str(out), *more]) == 0
    assert main(["data", "import", str(out), "--format", form, "--output", str(back)]) == 0
    assert "no faults" in capsys.readouterr().out
    (maps, images, labels), (found, found_images, found_labels) = panoptic(own), panoptic(back)
    assert [c.name for c in found_labels.classes] == [c.name for c in labels.classes]
    assert [c.is_thing for c in found_labels.classes] == [c.is_thing for c in labels.classes]
    assert all((a == b).all() for a, b in zip(images, found_images, strict=True))
    if form == "voc-masks":  # which has no crowds
        maps[1] = np.where(maps[1] == 1 << 8, 65535, maps[1])
    for expected, seen in zip(maps, found, strict=True):
        assert (expected == seen).all()


def test_polygons_lose_few_pixels_and_say_so(own, tmp_path, capsys):
    out, back = tmp_path / "out", tmp_path / "back"
    assert main(["data", "export", str(own), "--format", "coco-instances", "--polygons", "--output", str(out)]) == 0
    assert "% of the pixels differ" in capsys.readouterr().out
    assert main(["data", "import", str(out), "--format", "coco-instances", "--output", str(back)]) == 0
    for expected, seen in zip(panoptic(own)[0], panoptic(back)[0], strict=True):
        assert np.mean(expected == seen) > 0.97


def test_an_export_does_not_write_over_anything(own, tmp_path, capsys):
    assert main(["data", "export", str(own), "--format", "voc-masks", "--output", str(own)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_objects_have_the_colours_that_readers_of_voc_know():
    assert [voc_color(n) for n in (0, 1, 2, 3, 8, 21, 255)] == [
        (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (64, 0, 0), (128, 64, 128), (224, 224, 192),
    ]  # fmt: skip


# --- files as the tools write them ---


def rectangle(left, top, right, bottom):
    return [float(v) for v in (left, top, right, top, right, bottom, left, bottom)]


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def label_set_file(path):
    classes = [
        {"name": n, "is_thing": n == "cart", "dataset_id": i, "color": [i, 9, 9]}
        for i, n in enumerate(("cart", "hall floor"), start=4)
    ]
    path.write_text(yaml.safe_dump({"name": "two", "source": "here", "classes": classes}))
    return str(path)


def imported(tmp_path, form, *more):
    assert (
        main(["data", "import", str(tmp_path / "tool"), "--format", form, "--output", str(tmp_path / "got"), *more])
        == 0
    )
    return panoptic(tmp_path / "got")


def coco(annotations, categories, file_name="hall.png"):
    images = [{"id": 1, "file_name": file_name, "height": HEIGHT, "width": WIDTH, "license": 0}]
    rows = [{"id": i + 1, "image_id": 1, "iscrowd": 0, "area": 0, "bbox": [], **a} for i, a in enumerate(annotations)]
    return {"licenses": [], "info": {}, "images": images, "annotations": rows, "categories": categories}


def test_coco_as_cvat_writes_it(tmp_path):
    """instances_default.json: polygons and, for masks, run lengths that CVAT marks as crowds."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    mask[5:15, 30:40] = 1
    runs = coco_mask.encode(mask)
    flat = mask.ravel(order="F")
    counts = np.diff(np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1, [flat.size]])).tolist()
    annotations = [
        {"category_id": 2, "segmentation": [rectangle(0, 20, WIDTH, HEIGHT)]},
        {"category_id": 1, "segmentation": [rectangle(10, 22, 20, 30), rectangle(22, 22, 26, 30)]},
        {"category_id": 1, "segmentation": {"counts": counts, "size": [HEIGHT, WIDTH]}, "iscrowd": 1},
        {"category_id": 1, "segmentation": {"counts": runs["counts"].decode(), "size": [HEIGHT, WIDTH]}},
    ]
    annotations[3]["segmentation"]["counts"] = coco_mask.encode(np.asfortranarray(np.roll(mask, 20, 0)))[
        "counts"
    ].decode()
    categories = [{"id": 1, "name": "cart", "supercategory": ""}, {"id": 2, "name": "hall floor", "supercategory": ""}]
    write_json(tmp_path / "tool/annotations/instances_default.json", coco(annotations, categories))
    (tmp_path / "tool/images/default").mkdir(parents=True)
    (tmp_path / "tool/images/hall.png").write_bytes(png(picture(0)))
    (found,), _, labels = imported(
        tmp_path, "coco-instances", "--label-set", label_set_file(tmp_path / "l.yaml"), "--no-crowds"
    )
    assert [c.dataset_id for c in labels.classes] == [4, 5]
    assert (found[5:15, 30:40] == 1).all() and (found[20:22] == 1 << 8).all()
    assert (
        (found[22:30, 10:20] == 2).all() and (found[22:30, 22:26] == 2).all() and (found[22:30, 20:22] == 1 << 8).all()
    )
    assert (found[25:35, 30:40] == 3).all() and (found[:5] == 65535).all()


@pytest.mark.parametrize(
    ("order", "top"), [("small-on-top", "small"), ("last-on-top", "large"), ("first-on-top", "small")]
)
def test_overlaps_follow_the_order_that_was_asked_for(tmp_path, order, top):
    """Roboflow's _annotations.coco.json: the first category is the project, images lie beside the file."""
    annotations = [
        {"category_id": 2, "segmentation": [rectangle(10, 10, 14, 14)]},
        {"category_id": 2, "segmentation": [rectangle(4, 4, 30, 30)]},
        {"category_id": 1, "segmentation": [rectangle(0, 20, 60, 40)]},
    ]
    categories = [
        {"id": 0, "name": "hall-1", "supercategory": "none"},
        {"id": 1, "name": "floor", "supercategory": "hall-1"},
        {"id": 2, "name": "cart", "supercategory": "hall-1"},
    ]
    write_json(tmp_path / "tool/train/_annotations.coco.json", coco(annotations, categories))
    (tmp_path / "tool/train/hall.png").write_bytes(png(picture(0)))
    (found,), _, labels = imported(tmp_path, "coco-instances", "--stuff", "floor", "--order", order)
    assert [(c.name, c.is_thing) for c in labels.classes] == [("floor", False), ("cart", True)]
    large = found[5, 5]
    assert (found[12, 12] == large) == (top == "large")
    floor_over_cart = {"small-on-top": False, "last-on-top": True, "first-on-top": False}[order]
    assert (found[25, 25] == 0) == floor_over_cart


def test_coco_as_label_studio_writes_it(tmp_path):
    """result.json, with the images under another path than the names say."""
    write_json(
        tmp_path / "tool/result.json",
        coco(
            [{"category_id": 0, "segmentation": [rectangle(5, 5, 15, 15)], "ignore": 0}],
            [{"id": 0, "name": "cart"}],
            "images/3f/hall.png",
        ),
    )
    (tmp_path / "tool/images").mkdir()
    (tmp_path / "tool/images/hall.png").write_bytes(png(picture(0)))
    (found,), _, _ = imported(tmp_path, "coco-instances")
    assert (found[6:14, 6:14] == 1).all() and found[20, 20] == 65535


def test_masks_as_cvat_writes_them(tmp_path):
    """Segmentation mask 1.1: labelmap.txt, default.txt, objects in colours of their own, images apart."""
    tool = tmp_path / "tool"
    classes, objects = (np.zeros((HEIGHT, WIDTH, 3), np.uint8) for _ in range(2))
    classes[20:], objects[20:] = (50, 183, 250), (128, 0, 0)
    for left, color in ((5, (0, 128, 0)), (15, (128, 128, 0))):  # two carts that touch
        classes[22:30, left : left + 10], objects[22:30, left : left + 10] = (61, 61, 245), color
    for place, mask in (("SegmentationClass", classes), ("SegmentationObject", objects)):
        (tool / place).mkdir(parents=True)
        (tool / place / "hall.png").write_bytes(png(mask[..., ::-1]))
    (tool / "ImageSets/Segmentation").mkdir(parents=True)
    (tool / "ImageSets/Segmentation/default.txt").write_text("hall\n")
    text = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncart:61,61,245::\nfloor:50,183,250::\n"
    (tool / "labelmap.txt").write_text(text)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/hall.png").write_bytes(png(picture(0)))
    (found,), _, labels = imported(tmp_path, "voc-masks", "--stuff", "floor", "--images", str(tmp_path / "pictures"))
    assert [c.name for c in labels.classes] == ["cart", "floor"]
    assert (found[22:30, 5:15] == 1).all() and (found[22:30, 15:25] == 2).all() and (found[35] == 1 << 8).all()
    assert (found[:20] == 65535).all()


@pytest.mark.parametrize(("more", "right"), [((), 0), (("--components",), 2)])
def test_masks_as_roboflow_writes_them(tmp_path, more, right):
    """Grey values and _classes.csv with its odd heading; no instances: parts that do not touch, or a crowd."""
    place = tmp_path / "tool/train"
    place.mkdir(parents=True)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[20:], mask[22:30, 5:15], mask[22:30, 40:50] = 1, 2, 2
    (place / "hall_jpg.rf.1a2b_mask.png").write_bytes(png(mask))
    (place / "hall_jpg.rf.1a2b.png").write_bytes(png(picture(0)))
    (place / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, floor\n2, cart\n")
    (found,), _, _ = imported(tmp_path, "index-masks", "--stuff", "floor", *more)
    assert found[25, 10] == 1 << 8 | (1 if right else 0) and found[25, 45] == 1 << 8 | right and found[35, 5] == 0


def test_cityscapes_with_own_labels(tmp_path):
    """label_colors.txt: the line is the label id."""
    tool = tmp_path / "tool"
    instances = np.zeros((HEIGHT, WIDTH), np.uint16)
    instances[20:], instances[22:30, 5:15], instances[22:30, 15:25], instances[:5] = 1, 2000, 2001, 2
    for place, name, pixels in (
        ("gtFine/train/a", "a_000000_000001_gtFine_instanceIds.png", instances),
        ("leftImg8bit/train/a", "a_000000_000001_leftImg8bit.png", picture(0)),
    ):
        (tool / place).mkdir(parents=True)
        (tool / place / name).write_bytes(png(pixels))
    (tool / "label_colors.txt").write_text("0 0 0 background\n10 20 30 floor\n40 50 60 cart\n")
    (found,), _, labels = imported(tmp_path, "cityscapes", "--stuff", "floor")
    assert [(c.name, c.dataset_id, c.color) for c in labels.classes] == [
        ("floor", 1, (10, 20, 30)),
        ("cart", 2, (40, 50, 60)),
    ]
    assert (found[22:30, 5:15] == 1 << 8 | 1).all() and (found[22:30, 15:25] == 1 << 8 | 2).all()
    assert (found[35] == 0).all() and (found[:5] == 1 << 8).all() and (found[10] == 65535).all()


def fault(tmp_path, capsys, form, *more):
    capsys.readouterr()
    command = ["data", "import", str(tmp_path / "tool"), "--format", form, "--output", str(tmp_path / "got"), *more]
    assert main(command) == 2 and not (tmp_path / "got/panoptic_train.json").exists()
    return capsys.readouterr().err


def test_bad_files_are_one_line(tmp_path, capsys):
    (tmp_path / "tool").mkdir()
    assert "expected a COCO instances JSON" in fault(tmp_path, capsys, "coco-instances")
    assert "class table" in fault(tmp_path, capsys, "voc-masks")
    assert "_classes.csv" in fault(tmp_path, capsys, "index-masks")
    assert "instanceIds.png" in fault(tmp_path, capsys, "cityscapes")
    write_json(
        tmp_path / "tool/labels.json", coco([{"category_id": 1, "segmentation": []}], [{"id": 1, "name": "cart"}])
    )
    assert "no image 'hall.png'" in fault(tmp_path, capsys, "coco-instances")
    (tmp_path / "tool/hall.png").write_bytes(png(picture(0)))
    assert "expected polygons or run lengths" in fault(tmp_path, capsys, "coco-instances")
    assert "--stuff: sky" in fault(tmp_path, capsys, "coco-instances", "--stuff", "sky")
    assert "lacks" in fault(tmp_path, capsys, "coco-instances", "--label-set", "synthetic")
    (tmp_path / "tool/labels.json").write_text("{")
    assert "not valid JSON" in fault(tmp_path, capsys, "coco-instances")
