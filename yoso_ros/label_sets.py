# SPDX-License-Identifier: Apache-2.0
"""Label sets: names, colours, thing/stuff and dataset ids of the classes, read from config/label_sets."""

import functools
from dataclasses import dataclass

from yoso_ros.configuration import dataclass_from_mapping, read_yaml
from yoso_ros.errors import InputError
from yoso_ros.resources import config_file

MAX_CLASSES = 255  # class ids are uint8 and 255 means unlabelled


@dataclass(frozen=True, kw_only=True)
class LabelClass:
    """One class. `dataset_id` is the category id in the data set's own files; `color` is RGB 0..255."""

    name: str
    is_thing: bool
    dataset_id: int
    color: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class LabelSet:
    """The classes of a data set; the position in `classes` is the contiguous class id that the package uses."""

    name: str
    source: str
    classes: tuple[LabelClass, ...]

    def __post_init__(self):
        if not 1 <= len(self.classes) <= MAX_CLASSES:
            raise InputError(f"label set {self.name}: expected 1 to {MAX_CLASSES} classes, found {len(self.classes)}")
        for field in ("name", "dataset_id"):
            values = [getattr(label, field) for label in self.classes]
            twice = [value for value in dict.fromkeys(values) if values.count(value) > 1]
            if twice:
                raise InputError(f"label set {self.name}: expected every {field} once, found {twice[0]!r} again")
        for label in self.classes:
            if len(label.color) != 3 or not all(0 <= value <= 255 for value in label.color):
                raise InputError(f"label set {self.name}: {label.name}: expected a color of 3 numbers 0 to 255")

    def __len__(self):
        return len(self.classes)

    @functools.cached_property
    def thing_ids(self):
        """Contiguous ids of the thing classes, ascending: tuple of int."""
        return tuple(i for i, c in enumerate(self.classes) if c.is_thing)

    @functools.cached_property
    def contiguous_id(self):
        """Dataset category id to contiguous class id: dict of int to int."""
        return {c.dataset_id: i for i, c in enumerate(self.classes)}

    def coco_categories(self):
        """The classes as a COCO `categories` list with the data set's own ids."""
        return [
            {"id": c.dataset_id, "name": c.name, "isthing": int(c.is_thing), "color": list(c.color)}
            for c in self.classes
        ]


@functools.lru_cache
def load_label_set(name):
    """Load a label set by name (config/label_sets/<name>.yaml) or by the path of a YAML file.

    Raises:
        InputError: no such label set (the message lists the known ones), or the file is faulty.
    """
    path = config_file("label_sets", name, "label set")
    return dataclass_from_mapping(LabelSet, read_yaml(path), str(path))
