# SPDX-License-Identifier: Apache-2.0
"""A data set as a recording: images, calibration if known, and ground truth in the form of the node's outputs.

Legend: `H W` image size in pixels.
"""

import dataclasses
import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from yoso_ros.bags.frames import FIRST_STAMP_NS, CompressedImage, RawImage, pinhole_info, rgb_image
from yoso_ros.bags.labels import LABEL_SET_KEY, NAMES_KEY, TRUTH_PREFIX
from yoso_ros.bags.message_types import camera_info_message, header, label_message, picture_message, segments_message
from yoso_ros.bags.writing import BagWriter
from yoso_ros.errors import InputError, brief
from yoso_ros.images.encoded import read_image
from yoso_ros.reading import read_json
from yoso_ros.results import MAX_INSTANCES, UNLABELLED_ID, panoptic_id, segments_of
from yoso_ros.tracking import FIRST_THING_TRACK

CAMERA = "/camera"
FRAME_ID = "camera_optical"
FORMATS = {b"\xff\xd8\xff": "jpeg", b"\x89PNG": "png"}  # by their first bytes


def write_dataset_bag(dataset, path, storage="mcap", rate_hz=10.0, transport="compressed", progress=iter):
    """Write a split of a data set as a recording.

    Topics: /camera/image_raw or /camera/image_raw/compressed; if the data set has them (rendered scenes)
    /camera/camera_info and /camera/depth/image_raw (16UC1, aligned with the image); and the ground truth in
    /ground_truth/panoptic/image_raw and /ground_truth/panoptic/segments, with track ids if the data set has any. The
    label set and the image names are stored in the metadata. For the handling of crowds see `truth_labels`.

    Args:
        dataset: samples with `label_set`, as returned by `yoso_ros.data.open_dataset`.
        path: folder of the recording.
        storage: "mcap" or "sqlite3".
        rate_hz: frames per second of the stamps.
        transport: "compressed" for the files' own bytes, "raw" for rgb8 pixels.
        progress: wraps the range of indices, for a progress bar.

    Returns:
        dict of int: "frames", and the numbers of segments that the id rule cannot express: "merged_crowds",
        "merged_stuff", "unlabelled_crowds", "unlabelled_things".

    Raises:
        InputError: a sample is faulty, an image is neither JPEG nor PNG, or the folder already exists.
    """
    extras, counts, names = _Extras(dataset), Counter(), []
    with BagWriter(path, storage) as writer:
        for index in progress(range(len(dataset))):
            sample = dataset[index]
            stamp = FIRST_STAMP_NS + round(index * 1e9 / rate_hz)
            head = header(stamp, FRAME_ID)
            height, width = sample.ids.shape
            image = rgb_image(sample.image) if transport == "raw" else _stored_image(sample.file_name)
            suffix = "" if transport == "raw" else "/compressed"
            writer.write(f"{CAMERA}/image_raw{suffix}", stamp, picture_message(image, head))
            if extras.camera_k is not None:
                info = pinhole_info(height, width, extras.camera_k)
                writer.write(f"{CAMERA}/camera_info", stamp, camera_info_message(info, head))
            if extras.depth_folder is not None:
                writer.write(f"{CAMERA}/depth/image_raw", stamp, picture_message(extras.depth(sample), head))
            panoptic, lost = truth_labels(sample.ids, sample.segments, dataset.label_set)
            tracks = extras.tracks(sample, panoptic)
            segments = [
                dataclasses.replace(s, track_id=tracks.get(s.id, 0)) for s in segments_of(panoptic, dataset.label_set)
            ]
            writer.write(f"{TRUTH_PREFIX}/image_raw", stamp, label_message(panoptic, head))
            writer.write(f"{TRUTH_PREFIX}/segments", stamp, segments_message(segments, height, width, head))
            names.append([stamp, sample.image_id, Path(sample.file_name).name])
            counts.update(lost)
        writer.set_custom_data(LABEL_SET_KEY, json.dumps(dataclasses.asdict(dataset.label_set)))
        writer.set_custom_data(NAMES_KEY, json.dumps(names))
    return {"frames": len(names), **{name: counts[name] for name in LOST}}


LOST = ("merged_crowds", "merged_stuff", "unlabelled_crowds", "unlabelled_things")


def truth_labels(ids, segments, label_set):
    """Ground truth encoded by the id rule.

    Things are numbered from 1 per class in the order of `segments`. A crowd of a thing class gets instance 0, which no
    single thing has; crowds of one class become one. Stuff segments of one class become one. What the rule cannot
    express is left unlabelled: crowds of stuff, and things of a class beyond the 255th.

    Args:
        ids: int (H, W), segment id of each pixel, 0 = void.
        segments: COCO `segments_info` list with the data set's category ids.
        label_set: `LabelSet` of these ids.

    Returns:
        (uint16 (H, W) panoptic ids, Counter with the names of `LOST`).
    """
    things, taken, lost = Counter(), set(), Counter()
    values = np.full(len(segments) + 1, UNLABELLED_ID, np.uint16)
    for index, segment in enumerate(segments):
        class_id = label_set.contiguous_id[segment["category_id"]]
        is_thing, is_crowd = label_set.classes[class_id].is_thing, bool(segment.get("iscrowd"))
        if is_thing and not is_crowd:
            things[class_id] += 1
            if things[class_id] > MAX_INSTANCES:
                lost["unlabelled_things"] += 1
            else:
                values[index] = panoptic_id(class_id, things[class_id])
        elif is_crowd and not is_thing:
            lost["unlabelled_crowds"] += 1
        else:
            lost["merged_crowds" if is_crowd else "merged_stuff"] += class_id in taken
            taken.add(class_id)
            values[index] = panoptic_id(class_id, 0)
    # The last value, unlabelled, is for pixels that belong to no segment.
    known = np.array([s["id"] for s in segments] + [0], np.int64)
    order = np.argsort(known)
    nearest = order[np.minimum(np.searchsorted(known, ids, sorter=order), len(known) - 1)]
    return np.where(known[nearest] == ids, values[nearest], UNLABELLED_ID).astype(np.uint16), lost


def _stored_image(path):
    data = np.fromfile(path, np.uint8)
    for start, name in FORMATS.items():
        if data[: len(start)].tobytes() == start:
            return CompressedImage(name, data)
    raise InputError(f"{path}: expected a JPEG or PNG file for compressed images; --transport raw accepts any format")


def _are_numbers(values, count, kind=(int, float)):
    return isinstance(values, list) and len(values) == count and all(isinstance(value, kind) for value in values)


class _Extras:
    """What a rendered data set has in addition to images and labels; None or empty for others."""

    def __init__(self, dataset):
        path = getattr(dataset, "annotations_json", None)
        content = read_json(path) if path else {}
        info = content.get("info")
        self.camera_k = info.get("camera_k") if isinstance(info, dict) else None  # 9 numbers
        if self.camera_k is not None and not _are_numbers(self.camera_k, 9):
            raise InputError(f"{path}: camera_k: expected 9 numbers, found {brief(self.camera_k)}")
        self._scenes = {image["id"]: image.get("scene", 0) for image in content.get("images", ())}
        if not _are_numbers([*self._scenes.values()], len(self._scenes), int):
            raise InputError(f"{path}: scene: expected whole numbers")
        folder = path and path.with_name(path.stem.replace("panoptic_", "depth_"))
        self.depth_folder = folder if folder and folder != path.with_suffix("") and folder.is_dir() else None

    def depth(self, sample):
        """`RawImage`, 16UC1 in millimetres."""
        path = self.depth_folder / f"{Path(sample.file_name).stem}.png"
        pixels = read_image(path, cv2.IMREAD_UNCHANGED)
        if pixels.dtype != np.uint16 or pixels.shape != sample.ids.shape:
            raise InputError(f"{path}: expected a 16-bit depth image of the same size as the image")
        height, width = pixels.shape
        return RawImage(height, width, "16UC1", 0, 2 * width, pixels.astype("<u2").view(np.uint8).reshape(-1))

    def tracks(self, sample, panoptic):
        """Track ids by panoptic id: dict. Each is constant over the frames of a scene and unique to one thing."""
        scene = self._scenes.get(sample.image_id, 0)
        tracks = {s["id"]: s["track_id"] for s in sample.segments if s.get("track_id") and not s.get("iscrowd")}
        # Scenes number their objects from 1 to 255; track ids below 256 are reserved for stuff.
        where = [(number, np.flatnonzero(sample.ids == number)[:1]) for number in tracks]
        found = {
            int(panoptic.ravel()[at[0]]): FIRST_THING_TRACK + (scene << 8) + tracks[n] for n, at in where if at.size
        }
        return {number: track for number, track in found.items() if number != UNLABELLED_ID}
