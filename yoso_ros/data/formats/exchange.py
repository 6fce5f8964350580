# SPDX-License-Identifier: Apache-2.0
"""Shared parts of all formats: the image that a reader returns, options, classes by name, and images on disk.

Legend: `H W` size of an image in pixels.
"""

from __future__ import annotations

import colorsys
import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import yaml

from yoso_ros.errors import InputError, brief
from yoso_ros.files import write_file
from yoso_ros.images.encoded import read_image
from yoso_ros.label_sets import LabelClass, LabelSet, load_label_set
from yoso_ros.reading import path_inside

if TYPE_CHECKING:
    from yoso_ros.data.samples import PanopticSample

LABEL_SET_FILE = "label_set.yaml"  # next to the export, because annotation tools lose what is a thing
GOLDEN_TURN = 0.61803  # keeps neighbouring hues far apart


@dataclass(frozen=True, kw_only=True)
class ExchangeOptions:
    """How to export and import.

    Attributes:
        label_set: `LabelSet` of the import; None for the export's own, or one built from its class names.
        stuff: names of the stuff classes if the label set is built from names.
        order: of overlapping annotations, see `yoso_ros.data.formats.painting`.
        polygons: whether instances are exported as polygons instead of run lengths.
        one_file: whether stuff goes into the instances file.
        crowds: whether `iscrowd` is used; some tools set it for every mask.
        components: whether connected components of a thing class without instances become single things.
        images: folder of the images, None to search for it.
    """

    label_set: LabelSet | None = None
    stuff: tuple[str, ...] = ()
    order: str = "small-on-top"
    polygons: bool = False
    one_file: bool = False
    crowds: bool = True
    components: bool = False
    images: Path | None = None


@dataclass(frozen=True, slots=True)
class ForeignImage:
    """One image of another format: its file, int32 (H, W) segment ids (0 = void) and dicts with id, category_id (of the
    label set) and iscrowd."""

    path: Path
    ids: np.ndarray
    segments: list[dict]


def write_label_set(label_set: LabelSet, path: str | Path, name: str | None = None) -> None:
    """Write a label set as YAML that `load_label_set` reads, optionally under another name."""
    classes = [{**dataclasses.asdict(c), "color": list(c.color)} for c in label_set.classes]
    content = {"name": name or label_set.name, "source": label_set.source, "classes": classes}
    write_file(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def known_label_set(folder: str | Path, options: ExchangeOptions) -> LabelSet | None:
    """The label set of the options, or the one that an export stored in the folder, or None."""
    path = folder / LABEL_SET_FILE
    return options.label_set or (load_label_set(str(path)) if path.is_file() else None)


def label_set_for(
    names: list[str],
    ids: Any,
    folder: str | Path,
    options: ExchangeOptions,
    where: str,
    colors: Sequence[tuple[int, ...]] | None = None,
) -> tuple[LabelSet, dict[str, int]] | None:
    """The label set for classes by name.

    Args:
        names: list of str. ids: their category ids, used if there is no label set yet.
        folder: pathlib.Path of the import. where: for errors. colors: RGB of each, None to generate them.

    Returns:
        (`LabelSet`, dict of name to its category id in it).

    Raises:
        InputError: the label set lacks a name, `options.stuff` names an unknown class, or a name occurs twice.
    """
    if len(set(names)) < len(names):
        raise InputError(f"{where}: expected classes with different names, found {', '.join(sorted(names))}")
    known = known_label_set(folder, options)
    if known is not None:
        by_name = {plain(c.name): c.dataset_id for c in known.classes}
        if strangers := [name for name in names if plain(name) not in by_name]:
            raise InputError(
                f"{where}: has {', '.join(strangers)}, which label set {known.name} lacks; it has "
                f"{', '.join(c.name for c in known.classes)}"
            )
        return known, {name: by_name[plain(name)] for name in names}
    if strangers := sorted(set(options.stuff) - set(names)):
        raise InputError(f"--stuff: {', '.join(strangers)} not among the classes of {where}: {', '.join(names)}")
    colors = colors or distinct_colors(len(names))
    classes = [
        LabelClass(name=name, is_thing=name not in options.stuff, dataset_id=number, color=tuple(color))
        for name, number, color in zip(names, ids, colors, strict=True)
    ]
    return LabelSet(name=folder.name, source=str(where), classes=tuple(classes)), dict(zip(names, ids, strict=True))


def plain(name: str) -> str:
    """A class name as tools preserve it: some do not allow spaces."""
    return name.strip().replace(" ", "_").lower()


def distinct_colors(count: int) -> list[tuple[int, ...]]:
    """Colours that differ from each other and from black: list of RGB 0..255."""
    hsv = [((i * GOLDEN_TURN) % 1.0, 0.85 - 0.3 * (i % 3 == 2), 1.0 - 0.12 * (i % 4)) for i in range(count)]
    colors = [tuple(round(255 * part) for part in colorsys.hsv_to_rgb(*h)) for h in hsv]
    taken = {(0, 0, 0)}
    for place, (red, green, blue) in enumerate(colors):
        while (red, green, blue) in taken:
            blue = (blue + 1) % 256
        taken.add((red, green, blue))
        colors[place] = (red, green, blue)
    return colors


def export_colors(label_set: LabelSet) -> list[tuple[int, ...]]:
    """The label set's colours if they are all different, else generated ones: list of RGB."""
    colors = [tuple(c.color) for c in label_set.classes]
    return colors if len({*colors, (0, 0, 0)}) == len(colors) + 1 else distinct_colors(len(colors))


def image_bytes(sample: PanopticSample, suffixes: tuple[Any, ...]) -> tuple[str, bytes]:
    """An image as a file with one of the suffixes: (suffix, bytes); the original bytes if the file has one of them."""
    path = Path(sample.file_name)
    if path.suffix.lower() in suffixes and path.is_file():
        return path.suffix, path.read_bytes()
    return ".png", cv2.imencode(".png", cv2.cvtColor(sample.image, cv2.COLOR_RGB2BGR))[1].tobytes()


def find_image(name: str, folders: list[Path]) -> Path:
    """Find an image file by name in one of several folders; subfolders in the name may have been dropped.

    Raises:
        InputError: it is in none of them.
    """
    for folder in folders:
        for candidate in (name, Path(name).name):  # some tools prefix ../../, which is not followed
            with contextlib.suppress(InputError):
                path = path_inside(folder, candidate, "image")
                if path.is_file():
                    return path
    raise InputError(f"no image {brief(name)} in any of: {', '.join(map(str, folders))}; give the folder with --images")


def image_size(path: str | Path) -> tuple[int, int]:
    """(H, W) of an image file."""
    return read_image(path).shape[:2]


def read_mask(path: str | Path, shape: tuple[int, int] | None = None) -> np.ndarray:
    """A mask file unconverted, uint8 or uint16, (H, W) or RGB (H, W, 3).

    Raises:
        InputError: not an image, or its size is not `shape`.
    """
    # A palette image decodes to its colours, which are the keys of a colour table.
    mask = read_image(path, cv2.IMREAD_UNCHANGED)
    if mask.ndim == 3:
        mask = cv2.cvtColor(mask[..., :3], cv2.COLOR_BGR2RGB)
    if shape is not None and mask.shape[:2] != tuple(shape):
        raise InputError(f"{path}: expected the size of its image, {tuple(shape)}, found {mask.shape[:2]}")
    return mask
