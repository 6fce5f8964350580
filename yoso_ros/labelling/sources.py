# SPDX-License-Identifier: Apache-2.0
"""What can be labelled: a selection, a folder of images or a recording, each as numbered frames with names."""

from pathlib import Path

import numpy as np

from yoso_ros.bags import open_source
from yoso_ros.bags.frames import CompressedImage, rgb_image
from yoso_ros.bags.pictures import IMAGE_SUFFIXES, natural_order
from yoso_ros.errors import InputError
from yoso_ros.images.encoded import read_image, read_image_file
from yoso_ros.labelling.chosen_frames import STORED, frame_name, frames_at, recording_names
from yoso_ros.reading import path_inside, read_json


class ImageFolder:
    """The images of a folder or of the output of `bag select`: `len()`, and `read(indices)` as below."""

    def __init__(self, folder):
        self.folder, self.facts = Path(folder), {}
        selection = self.folder / "selection.json"
        if selection.is_file():
            keys = ("recording", "index", "stamp_ns")
            content = read_json(selection)
            try:
                chosen = content["chosen"]
                self.facts = {c["file_name"]: {key: c[key] for key in keys} for c in chosen}
                names = [c["file_name"] for c in chosen]
            except (KeyError, TypeError) as error:
                raise InputError(f"{selection}: expected a file written by `bag select`: {error!r}") from error
            self.paths = [path_inside(self.folder / "images", name, selection) for name in names]
        else:
            names = [p.name for p in self.folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES]
            self.paths = [self.folder / name for name in sorted(names, key=natural_order)]
        if not self.paths:
            raise InputError(f"{folder}: expected images or the selection.json of `bag select` in it, found none")

    def __len__(self):
        return len(self.paths)

    def read(self, indices):
        """Yield (name, dict for the image's entry, frame's image) of some frames; `indices` ascend."""
        for index in indices:
            path = self.paths[index]
            data = np.frombuffer(read_image_file(path), np.uint8)
            known = any(data[: len(start)].tobytes() == start for start in STORED)
            image = CompressedImage(path.suffix, data) if known else rgb_image(read_image(path))
            yield path.stem, self.facts.get(path.name, {}), image


class RecordedFrames:
    """Every n-th frame of a source of `open_source`; see `ImageFolder`. Names begin with `stem`."""

    def __init__(self, path, stem, topic=None, every=1):
        self.path, self.stem = path, stem
        self._source = open_source(path, topic)
        self._indices = range(0, len(self._source), every)

    def __len__(self):
        return len(self._indices)

    def read(self, indices):
        """See `ImageFolder.read`."""
        for index, frame in frames_at(self._source, [self._indices[i] for i in indices]):
            more = {"recording": str(self.path), "index": index, "stamp_ns": frame.stamp_ns}
            yield frame_name(self.stem, index), more, frame.image


def open_label_sources(paths, topic=None, every=1):
    """One object per path with `len()` and `read(indices)`.

    Args:
        paths: list of str. topic: of recordings with several cameras. every: every n-th frame of recordings and videos.
    """
    stems = recording_names([Path(path) for path in paths])
    return [
        ImageFolder(path) if _is_image_folder(Path(path)) else RecordedFrames(path, stem, topic, every)
        for path, stem in zip(paths, stems, strict=True)
    ]


def _is_image_folder(path):
    if not path.is_dir():
        return False
    return (path / "selection.json").is_file() or any(p.suffix.lower() in IMAGE_SUFFIXES for p in path.iterdir())
