# SPDX-License-Identifier: Apache-2.0
"""Write rendered scenes as a data set in COCO panoptic format, with object ids constant over the frames of a scene."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from yoso_ros.data.synthetic.renderer import DEFAULT_FIELD_OF_VIEW, Renderer
from yoso_ros.data.synthetic.scene import LABEL_SET, random_scene
from yoso_ros.errors import InputError
from yoso_ros.files import write_file
from yoso_ros.label_sets import load_label_set

if TYPE_CHECKING:
    from yoso_ros.data.synthetic.renderer import RenderedFrame
    from yoso_ros.label_sets import LabelSet

JPEG_QUALITY = 95
DEPTH_SCALE = 1000.0  # steps per metre of the 16-bit depth PNG, as for 16UC1 in ROS
LONGEST_DRIVE = 60.0  # seconds; a scene's first frame is drawn from this span


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """What to write: `count` frames of `width` x `height` pixels, `frames_per_scene` at `rate_hz` in each scene
    of a world (see `WORLDS`)."""

    count: int
    width: int = 320
    height: int = 240
    seed: int = 0
    split: str = "train"
    frames_per_scene: int = 10
    rate_hz: float = 5.0
    field_of_view: float = DEFAULT_FIELD_OF_VIEW
    noise: float = 2.0
    image_format: str = "jpg"
    depth: bool = False
    world: str = "yard"


def synthesized_frames(synthesis: Synthesis) -> Iterator[tuple[int, int, RenderedFrame]]:
    """Yield (scene number, frame number in the scene, `RenderedFrame`) for each frame of the data set."""
    renderer = Renderer(synthesis.width, synthesis.height, field_of_view=synthesis.field_of_view, noise=synthesis.noise)
    for index in range(synthesis.count):
        number, step = divmod(index, synthesis.frames_per_scene)
        if step == 0:
            scene = random_scene([synthesis.seed, number], synthesis.world)
            start = np.random.default_rng([synthesis.seed, number, 1]).uniform(0, LONGEST_DRIVE)
        yield number, step, renderer.render(scene, start + step / synthesis.rate_hz, [synthesis.seed, index])


def segments_info(panoptic: np.ndarray, label_set: LabelSet) -> list[dict[str, Any]]:
    """COCO `segments_info` of a panoptic map, uint16 (H, W) by the package's id rule, in the data set's category ids.

    The `id` of a segment is `category_id << 8 | instance`, never 0; `track_id` is the object id, 0 for stuff.
    """
    segments = []
    for number, area in zip(*np.unique(panoptic, return_counts=True), strict=True):
        category = label_set.classes[number >> 8].dataset_id
        segments.append(
            {
                "id": int(category << 8 | number & 255),
                "category_id": category,
                "area": int(area),
                "bbox": list(cv2.boundingRect((panoptic == number).astype(np.uint8))),
                "iscrowd": 0,
                "track_id": int(number & 255),
            }
        )
    return segments


def coco_png(panoptic: np.ndarray, label_set: LabelSet) -> np.ndarray:
    """The PNG of a panoptic map: uint8 (H, W, 3) RGB with R + 256 G + 65536 B = segment id."""
    categories = np.array([c.dataset_id for c in label_set.classes], np.uint8)
    return np.stack([panoptic.astype(np.uint8), categories[panoptic >> 8], np.zeros_like(panoptic, np.uint8)], axis=-1)


def write_dataset(folder: str | Path, synthesis: Synthesis, progress: Callable[..., Any] = iter) -> dict[str, float]:
    """Write `folder`/images/SPLIT, panoptic_SPLIT, depth_SPLIT (optional) and, last of all, panoptic_SPLIT.json.

    Args:
        folder: created if missing.
        synthesis: `Synthesis`.
        progress: wraps the iterator of frames, for a progress bar.

    Returns:
        dict with "frames", "scenes", "render_seconds" (processor time) and "total_seconds" (wall time).

    Raises:
        InputError: the folder already contains this split.
    """
    folder, split = Path(folder), synthesis.split
    annotations_path = folder / f"panoptic_{split}.json"
    if annotations_path.exists():
        raise InputError(f"{annotations_path} already exists; choose another folder or split, or delete it first")
    places = {name: folder / name for name in (f"images/{split}", f"panoptic_{split}")}
    if synthesis.depth:
        places[f"depth_{split}"] = folder / f"depth_{split}"
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    label_set = load_label_set(LABEL_SET)
    images, annotations = [], []
    render_seconds, begin = 0.0, time.perf_counter()
    frames = synthesized_frames(synthesis)
    for image_id in progress(range(synthesis.count)):
        mark = time.process_time()
        number, step, frame = next(frames)
        render_seconds += time.process_time() - mark
        name = f"{number:05d}_{step:03d}"
        picture = f"{name}.{synthesis.image_format}"
        panoptic = frame.panoptic
        _write_image(places[f"images/{split}"] / picture, frame.image[..., ::-1])
        _write_image(places[f"panoptic_{split}"] / f"{name}.png", coco_png(panoptic, label_set)[..., ::-1])
        if synthesis.depth:
            _write_image(places[f"depth_{split}"] / f"{name}.png", depth_millimetres(frame.depth))
        height, width = panoptic.shape
        images.append({"id": image_id, "file_name": picture, "width": width, "height": height, "scene": number})
        segments = segments_info(panoptic, label_set)
        annotations.append({"image_id": image_id, "file_name": f"{name}.png", "segments_info": segments})
    content = {
        "info": {
            "description": "Scenes rendered by yoso_ros",
            "camera_k": list(frame.intrinsics.k),
            **asdict(synthesis),
        },
        "images": images,
        "annotations": annotations,
        "categories": label_set.coco_categories(),
    }
    write_file(annotations_path, json.dumps(content))
    seconds = time.perf_counter() - begin
    return {"frames": len(images), "scenes": number + 1, "render_seconds": render_seconds, "total_seconds": seconds}


def depth_millimetres(depth: np.ndarray) -> np.ndarray:
    """Depth in metres, float32 (H, W), to uint16 millimetres with 0 where there is no surface within 65.5 m."""
    millimetres = np.round(depth * DEPTH_SCALE)
    return np.where(millimetres <= np.iinfo(np.uint16).max, millimetres, 0).astype(np.uint16)


def _write_image(path, pixels):
    """Encode and write atomically: a file under its final name is complete."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 3]
    _, data = cv2.imencode(path.suffix, pixels, options)
    write_file(path, data.tobytes())
