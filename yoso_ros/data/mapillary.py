# SPDX-License-Identifier: Apache-2.0
"""Mapillary Vistas as downloaded: COCO panoptic JSON and PNG in the folders of versions 1.2 and 2.0."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from yoso_ros.data.coco_panoptic import CocoPanoptic
from yoso_ros.errors import InputError
from yoso_ros.label_sets import load_label_set
from yoso_ros.reading import read_json

if TYPE_CHECKING:
    from yoso_ros.label_sets import LabelSet

FOLDERS = {"train": "training", "val": "validation", "test": "testing"}
LABEL_SET = "mapillary_vistas"  # of version 1.2
# Location of a version's ground truth in the folder of a split: packages 1.x have one version, package 2.0 has both.
PANOPTIC_JSON = {
    "v1.2": ("panoptic/panoptic_2018.json", "v1.2/panoptic/panoptic_2018.json"),
    "v2.0": ("v2.0/panoptic/panoptic_2020.json",),
}
CONFIG_FILES = {"v1.2": ("config.json", "config_v1.2.json"), "v2.0": ("config_v2.0.json",)}


def is_mapillary(root: str | Path) -> bool:
    """Whether a path is a Mapillary Vistas folder, or one of its config files."""
    root = Path(root)
    return _version_of(root) is not None or any((root / f / "images").is_dir() for f in FOLDERS.values())


def open_mapillary(root: str | Path, split: str, label_set: LabelSet | None = None) -> CocoPanoptic:
    """A split of Mapillary Vistas.

    Args:
        root: folder with `training/images`, `validation/images` and so on, or a config file in it, which selects the
            version: `config_v1.2.json` (`config.json` in package 1.2) or `config_v2.0.json`. A folder with both
            versions gives version 1.2, which the released weights are for.
        split: "train" or "val", or the name of the folder.
        label_set: LabelSet of the categories. By default the 65 classes of version 1.2, or the classes of the panoptic
            JSON of version 2.0 with the colours of its config file.

    Returns:
        `CocoPanoptic`.

    Raises:
        InputError: there is no such split; the message lists the locations tried.
    """
    root = Path(root)
    version = _version_of(root)
    root = root.parent if version else root
    folder = root / FOLDERS.get(split, split)
    tried = []
    for name in (version,) if version else PANOPTIC_JSON:
        for place in PANOPTIC_JSON[name]:
            tried.append(folder / place)
            if tried[-1].is_file():
                chosen = label_set or (load_label_set(LABEL_SET) if name == "v1.2" else None)
                dataset = CocoPanoptic(tried[-1], folder / "images", tried[-1].parent, chosen)
                if chosen is None:
                    dataset.label_set = _with_colors(dataset.label_set, root, name)
                return dataset
    raise InputError(f"expected a Mapillary Vistas panoptic JSON at one of: {', '.join(map(str, tried))}; found none")


def _version_of(path):
    if not path.is_file():
        return None
    return next((version for version, names in CONFIG_FILES.items() if path.name in names), None)


def _with_colors(label_set, root, version):
    """The label set with the name of the version, and the colours of its config file if it exists."""
    paths = [root / name for name in CONFIG_FILES[version] if (root / name).is_file()]
    if not paths:
        return label_set
    try:
        labels = read_json(paths[0])["labels"]
        colors = {label["readable"]: tuple(label["color"]) for label in labels}
    except (KeyError, TypeError) as error:
        raise InputError(f"{paths[0]}: expected labels with readable and color: {error!r}") from error
    classes = [dataclasses.replace(c, color=colors.get(c.name, c.color)) for c in label_set.classes]
    name = f"{LABEL_SET}_{version}"
    return dataclasses.replace(label_set, name=name, source=f"Mapillary Vistas {version}", classes=tuple(classes))
