# SPDX-License-Identifier: Apache-2.0
"""Panoptic topics of a recording as COCO panoptic JSON and PNG.

Legend: `H W` size of a label image in pixels.
"""

import json
from pathlib import Path

import cv2
import numpy as np

from yoso_ros.bags.labels import Labels, label_set_of, names_of
from yoso_ros.data.samples import VOID_ID, rgb_from_ids
from yoso_ros.errors import InputError
from yoso_ros.files import write_file
from yoso_ros.results import UNLABELLED_ID


def write_coco(bag, prefix, folder, label_set=None, progress=iter):
    """Write the labels under a prefix into `folder`: panoptic.json, and the images as PNG files in panoptic/.

    Segment ids are panoptic id + 1, void is 0, a thing with instance 0 is a crowd. Category ids are those of the label
    set, matched by class name; without one, class id + 1 of the classes that occur. Image ids and file names are
    those stored by `write_dataset_bag`, else the frame number and stamp.

    Args:
        bag: `Bag`.
        prefix: such as /yoso/panoptic.
        folder: created if missing; existing files of the same names are replaced.
        label_set: `LabelSet`; by default the one stored in the recording, if any.
        progress: wraps the iterator of frames, for a progress bar.

    Returns:
        dict of int: "images", "segments", "unpaired" (messages without a counterpart).

    Raises:
        InputError: no such labels, or the label set lacks a class.
    """
    folder = Path(folder)
    (folder / "panoptic").mkdir(parents=True, exist_ok=True)
    label_set = label_set or label_set_of(bag)
    categories = None if label_set is None else {c.name: c.dataset_id for c in label_set.classes}
    names, seen = names_of(bag), {}
    images, annotations = [], []
    labels = Labels(bag, prefix)
    for index, frame in enumerate(progress(labels)):
        image_id, file_name = names.get(frame.stamp_ns, (index, f"{frame.stamp_ns}.png"))
        png = f"{Path(file_name).stem}.png"
        height, width = frame.panoptic.shape
        ids = coco_ids(frame.panoptic)
        write_file(folder / "panoptic" / png, cv2.imencode(".png", rgb_from_ids(ids)[..., ::-1])[1].tobytes())
        images.append(
            {"id": image_id, "file_name": file_name, "height": height, "width": width, "stamp_ns": frame.stamp_ns}
        )
        segments = [_coco_segment(s, categories, prefix) for s in frame.segments]
        annotations.append({"image_id": image_id, "file_name": png, "segments_info": segments})
        seen |= {s.class_id: s for s in frame.segments}
    if label_set is None:
        used = [{"id": i + 1, "name": s.class_name, "isthing": int(s.is_thing)} for i, s in sorted(seen.items())]
    else:
        used = label_set.coco_categories()
    description = f"{prefix} of {Path(bag.name).name}"
    content = {"info": {"description": description}, "images": images, "annotations": annotations, "categories": used}
    write_file(folder / "panoptic.json", json.dumps(content))
    return {
        "images": len(images),
        "segments": sum(len(a["segments_info"]) for a in annotations),
        "unpaired": labels.unpaired,
    }


def coco_ids(panoptic):
    """COCO segment ids from uint16 (H, W) panoptic ids: int32 (H, W), id + 1, and 0 for unlabelled."""
    return np.where(panoptic == UNLABELLED_ID, VOID_ID, panoptic.astype(np.int32) + 1)


def _coco_segment(segment, categories, prefix):
    if categories is not None and segment.class_name not in categories:
        raise InputError(f"{prefix} has class {segment.class_name!r}, which the label set lacks; see --label-set")
    return {
        "id": segment.id + 1,
        "category_id": segment.class_id + 1 if categories is None else categories[segment.class_name],
        "iscrowd": int(segment.is_thing and segment.instance_id == 0),
        "area": segment.area,
        "bbox": list(segment.box_xywh),
        "score": segment.score,
    }
