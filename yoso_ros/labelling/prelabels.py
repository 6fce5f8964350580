# SPDX-License-Identifier: Apache-2.0
"""Labels made by a model for a person to correct: a result as COCO segments in your own classes.

Legend: `H W` size of the frame in pixels.
"""

import io
import json
import zipfile
from collections import Counter

import numpy as np

from yoso_ros.data.coco_panoptic_writer import measured_segments, panoptic_png
from yoso_ros.data.samples import VOID_ID
from yoso_ros.results import UNLABELLED_CLASS, UNLABELLED_ID

SMALLEST_SEGMENT = 16  # smallest segment in pixels; smaller remainders become void


def prelabels(result, mapping, min_confidence):
    """The labels of a frame.

    All stuff of one class is one segment, including things that the mapping turns into stuff. Stuff that the mapping
    turns into a thing class becomes a crowd, because its instances have not been separated.

    Args:
        result: `PanopticResult`.
        mapping: `ClassMapping`.
        min_confidence: 0..1; pixels below it become void.

    Returns:
        (int32 (H, W) segment ids from 1, COCO `segments_info` with `score`, the highest of the model's segments).
    """
    sure = result.confidence >= 255 * min_confidence
    classes, groups = mapping.label_set.classes, {}
    for segment in result.segments:
        class_id = int(mapping.table[segment.class_id])
        if class_id == UNLABELLED_CLASS:
            continue
        single = classes[class_id].is_thing and segment.is_thing
        groups.setdefault((class_id, segment.id if single else None), []).append(segment)
    table, segments = np.full(UNLABELLED_ID + 1, VOID_ID, np.int32), []
    for number, ((class_id, single), members) in enumerate(groups.items(), start=1):
        table[[m.id for m in members]] = number
        crowd = int(classes[class_id].is_thing and single is None)
        score = max(m.score for m in members)
        entry = {"id": number, "category_id": classes[class_id].dataset_id, "iscrowd": crowd, "score": score}
        segments.append(entry)
    ids = np.where(sure, table[result.panoptic], VOID_ID).astype(np.int32)
    few = np.flatnonzero(np.bincount(ids.ravel(), minlength=len(segments) + 1) < SMALLEST_SEGMENT)
    ids[np.isin(ids, few)] = VOID_ID
    return ids, measured_segments(ids, segments)


def label_frames(frames, segment, mapping, min_confidence, decode, image_file):
    """Label some frames. Returns the bytes of a part: a zip with the images, their PNGs and `frames.json`.

    Args:
        frames: iterable of (name without suffix, dict for the image's entry, frame's image).
        segment: callable from uint8 (H, W, 3) RGB to `PanopticResult`.
        mapping, min_confidence: see `prelabels`.
        decode: callable from a frame's image to uint8 (H, W, 3) RGB.
        image_file: callable from a frame's image to (suffix, bytes of an image file).
    """
    content, rows = io.BytesIO(), []
    with zipfile.ZipFile(content, "w") as archive:
        for name, more, image in frames:
            ids, segments = prelabels(segment(decode(image)), mapping, min_confidence)
            suffix, data = image_file(image)
            archive.writestr(f"images/{name}{suffix}", data)
            archive.writestr(f"panoptic/{name}.png", panoptic_png(ids))
            void = float(np.mean(ids == VOID_ID))
            rows.append({"name": name, "suffix": suffix, "size": ids.shape, "segments": segments, "more": more})
            rows[-1]["void"] = void
        archive.writestr("frames.json", json.dumps(rows))
    return content.getvalue()


def unpack(paths, writer, watch=iter):
    """Write the frames of parts into a data set.

    Args:
        paths: of the parts, in order. writer: `CocoPanopticWriter`. watch: wraps the paths, for a progress bar.

    Returns:
        (Counter of category id to segments, mean share of void pixels).
    """
    counts, void = Counter(), []
    for path in watch(paths):
        with zipfile.ZipFile(path) as archive:
            for row in json.loads(archive.read("frames.json")):
                name, image_name = row["name"], f"{row['name']}{row['suffix']}"
                image, png = archive.read(f"images/{image_name}"), archive.read(f"panoptic/{name}.png")
                writer.add(image_name, image, png, row["size"], row["segments"], row["more"])
                counts.update(s["category_id"] for s in row["segments"])
                void.append(row["void"])
    return counts, float(np.mean(void)) if void else 0.0
