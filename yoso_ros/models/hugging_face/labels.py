# SPDX-License-Identifier: Apache-2.0
"""The label set of a checkpoint of the hub: its files name the classes, but not which of them are things."""

import colorsys
import re

from yoso_ros.errors import InputError
from yoso_ros.label_sets import LabelClass, LabelSet, load_label_set

KNOWN = ("coco_panoptic", "cityscapes", "ade20k_panoptic", "mapillary_vistas")
EQUAL_SHARE = 0.75  # of the names, by position: the files of ADE20K use different synonyms for some classes
GOLDEN_ANGLE = 0.618034


def find_labels(names: list[str], fused: list[int] | None, source: str) -> LabelSet:
    """The label set of a checkpoint.

    Args:
        names: of the classes, by class id.
        fused: class ids with a single segment each (`label_ids_to_fuse`), which are stuff; None if the files do not
            say.
        source: of the checkpoint, for the message.

    Returns:
        One of this package if number and names agree (without names, the number is enough); else one built from the
        names if `fused` says what is stuff.

    Raises:
        InputError: neither applies; asks for `label_set`.
    """
    for known in KNOWN:
        label_set = load_label_set(known)
        if len(label_set) == len(names) and (_unnamed(names) or _share(names, label_set) >= EQUAL_SHARE):
            return label_set
    if fused is not None and len(set(names)) == len(names):
        return LabelSet(
            name="checkpoint",
            source=source,
            classes=tuple(
                LabelClass(name=name, is_thing=i not in fused, dataset_id=i, color=_color(i))
                for i, name in enumerate(names)
            ),
        )
    raise InputError(
        f"{source}: its {len(names)} classes ({', '.join(names[:3])}, ...) are of none of {', '.join(KNOWN)}, and its "
        "files do not say which of them are things: write a YAML file with architecture: hugging_face, "
        f"source: {source} and label_set: YOUR_LABELS.yaml, and give it as the model"
    )


def _unnamed(names: list[str]) -> bool:
    return all(name == f"LABEL_{i}" for i, name in enumerate(names))


def _share(names: list[str], label_set: LabelSet) -> float:
    pairs = zip(names, label_set.classes, strict=True)
    return sum(bool(_synonyms(name) & _synonyms(label.name)) for name, label in pairs) / len(names)


def _synonyms(name: str) -> set[str]:
    return {" ".join(re.findall(r"[a-z0-9]+", part)) for part in re.split(r"[,;]", name.lower())}


def _color(index: int) -> tuple[int, ...]:
    return tuple(round(255 * c) for c in colorsys.hsv_to_rgb(index * GOLDEN_ANGLE % 1, 0.75, 0.9))
