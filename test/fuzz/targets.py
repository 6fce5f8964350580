# SPDX-License-Identifier: Apache-2.0
"""Readers under attack: each target makes one bad input from a random generator and reads it as a user would.

A target may return or raise `InputError`; anything else, or a wrong kind of result, is a fault of the package.
"""

import json
import os
import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import yaml

from yoso_ros.bags import open_source
from yoso_ros.bags.frames import RawImage
from yoso_ros.bags.labels import label_set_of, names_of
from yoso_ros.bags.message_types import header, picture_message
from yoso_ros.bags.writing import BagWriter
from yoso_ros.checkpoint import read_metadata, read_torch_file
from yoso_ros.configuration import dataclass_from_mapping, read_yaml
from yoso_ros.data import open_dataset, training_targets
from yoso_ros.errors import InputError
from yoso_ros.images.decoding import LAYOUTS, decode_compressed, decode_image, decode_picture
from yoso_ros.images.encoded import decode_encoded
from yoso_ros.label_sets import LabelSet
from yoso_ros.resources import checkpoint_path, share_path

MOST_PIXELS = 10**6
VALUES = (None, True, 0, -1, 7, 1.5, float("nan"), 2**31, 2**63, 10**40, "", "x", "../x", "\0", [], {}, [[]], [None])


def damaged(data, random):
    """Bytes with a few changes: bits flipped, numbers put in, parts cut out, doubled or cut off."""
    data = bytearray(data)
    for _ in range(random.integers(1, 6)):
        if not data:
            break
        # Half of the changes near the start, where the structure lies.
        at = int(random.integers(len(data) if random.random() < 0.5 else min(len(data), 200)))
        way = random.integers(6)
        if way == 0:
            data[at] ^= 1 << int(random.integers(8))
        elif way == 1:
            data[at] = int(random.integers(256))
        elif way == 2:
            number = int(random.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, random.integers(2**32)]))
            data[at : at + 4] = number.to_bytes(4, ("little", "big")[random.integers(2)])
        elif way == 3:
            del data[at : at + int(random.integers(1, 50))]
        elif way == 4:
            data[at:at] = data[at : at + int(random.integers(1, 50))]
        else:
            del data[at:]
    return bytes(data)


def changed(content, random):
    """Plain values with one of them, somewhere, replaced by another kind or left out."""
    content = json.loads(json.dumps(content))
    entry, places = content, []
    while isinstance(entry, (dict, list)) and entry:
        keys = list(entry) if isinstance(entry, dict) else list(range(len(entry)))
        key = keys[random.integers(len(keys))]
        places.append((entry, key))
        entry = entry[key]
    entry, key = places[random.integers(len(places))]
    if random.random() < 0.2:
        del entry[key]
    else:
        entry[key] = VALUES[random.integers(len(VALUES))]
    return content


def _is_frame(frame):
    assert frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3 and frame.size <= 3 * MOST_PIXELS


def picture(random, folder):
    """An encoded picture of any format, as a file and as a message."""
    pixels = random.integers(0, 256, (*random.integers(1, 40, 2), 3), np.uint8)
    suffix = (".jpg", ".png", ".bmp", ".tif", ".webp", ".ppm")[random.integers(6)]
    data = damaged(cv2.imencode(suffix, pixels)[1].tobytes(), random)
    _is_frame(decode_encoded(data, "fuzz", max_pixels=MOST_PIXELS))
    _is_frame(decode_compressed(SimpleNamespace(format="jpeg", data=data), MOST_PIXELS))


def image_message(random, folder):
    """A raw image whose fields need not fit each other."""
    names = [*LAYOUTS, "", "32FC1", "x" * 1000]
    sizes = [int(random.choice([0, 1, 3, 8, 2**31, 2**32 - 1, random.integers(40)])) for _ in range(3)]
    length = sizes[0] * sizes[2] if max(sizes) < 100 and random.random() < 0.7 else int(random.integers(3000))
    message = SimpleNamespace(height=sizes[0], width=sizes[1], step=sizes[2], data=bytes(length))
    message.encoding, message.is_bigendian = names[random.integers(len(names))], int(random.integers(2))
    _is_frame(decode_image(message, MOST_PIXELS))


def recording(random, folder):
    """A recording with damage in its file or in its metadata."""
    path = folder / "bag"
    shutil.rmtree(path, ignore_errors=True)
    with BagWriter(path, ("mcap", "sqlite3")[random.integers(2)], compress=bool(random.integers(2))) as writer:
        for index in range(4):
            pixels = random.integers(0, 256, 8 * 8 * 3, np.uint8)
            image = RawImage(8, 8, "rgb8", 0, 24, pixels)
            writer.write("/cam/image_raw", 10**9 + index, picture_message(image, header(10**9 + index, "cam")))
        writer.set_custom_data("yoso_ros.images", json.dumps([[10**9, 1, "a.png"]]))
    metadata = path / "metadata.yaml"
    (storage,) = (p for p in path.iterdir() if p != metadata)
    if random.random() < 0.5:
        storage.write_bytes(damaged(storage.read_bytes(), random))
    elif random.random() < 0.5:
        metadata.write_text(yaml.safe_dump(changed(yaml.safe_load(metadata.read_text()), random)))
    else:
        metadata.write_bytes(damaged(metadata.read_bytes(), random))
    source = open_source(path)
    assert sum(1 for _ in source) <= len(source)
    for frame in source:
        assert 0 <= frame.stamp_ns < 2**63
        try:
            _is_frame(decode_picture(frame.image, MOST_PIXELS))
        except InputError:
            continue
    label_set_of(source.bag)
    names_of(source.bag)


def dataset(random, folder):
    """A data set whose JSON has values of wrong types, or is damaged as a text."""
    root = folder / "data"
    segment = {"id": 7, "category_id": 1, "iscrowd": 0, "area": 32, "bbox": [0, 0, 8, 4]}
    content = {
        "images": [{"id": 1, "file_name": "1.png"}],
        "annotations": [{"image_id": 1, "file_name": "1.png", "segments_info": [segment]}],
        "categories": [{"id": 1, "name": "road", "isthing": 0, "color": [1, 2, 3]}],
    }
    for name, pixels in (("images/val", np.zeros((4, 8, 3))), ("panoptic_val", np.full((4, 8, 3), (0, 0, 7)))):
        (root / name).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name / "1.png"), pixels)
    text = json.dumps(changed(content, random)).encode()
    (root / "panoptic_val.json").write_bytes(text if random.random() < 0.7 else damaged(text, random))
    samples = open_dataset(root, "val")
    list(samples.find_faults())
    for index in range(len(samples)):
        sample = samples[index]
        assert os.path.realpath(sample.file_name).startswith(os.path.realpath(root))
        training_targets(sample.ids, sample.segments, samples.label_set)


def label_set(random, folder):
    """A label set in YAML."""
    path = folder / "labels.yaml"
    text = share_path("config/label_sets/camvid.yaml").read_bytes()
    if random.random() < 0.5:
        text = yaml.safe_dump(changed(yaml.safe_load(text), random)).encode()
    path.write_bytes(text if random.random() < 0.3 else damaged(text, random))
    dataclass_from_mapping(LabelSet, read_yaml(path), str(path))


def weights(random, folder):
    """A checkpoint of either kind, of which only the start is kept: its header is what is attacked."""
    path = folder / "weights.safetensors"
    with checkpoint_path("yoso_mobilenetv2_camvid").open("rb") as file:
        path.write_bytes(damaged(file.read(200_000), random))
    for read in (read_metadata, lambda path: read_torch_file(path, "cpu")):
        try:
            read(path)
        except InputError:
            continue


TARGETS = {f.__name__: f for f in (picture, image_message, recording, dataset, label_set, weights)}
