# SPDX-License-Identifier: Apache-2.0
"""Reading of JSON files in COCO's formats; the type of every value that is used is checked."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from yoso_ros.errors import InputError, brief
from yoso_ros.reading import read_json


def _is_whole_number(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


# Field to (check of a value, description of what is expected). NaN in JSON is a float.
KINDS = {
    "id": (_is_whole_number, "a whole number"),
    "image_id": (lambda v: _is_whole_number(v) or isinstance(v, str), "a whole number or a text"),
    "category_id": (_is_whole_number, "a whole number"),
    "name": (lambda v: isinstance(v, str) and bool(v.strip()), "a text"),
    "file_name": (lambda v: isinstance(v, str) and bool(v), "a text"),
    "isthing": (lambda v: v in (0, 1) and isinstance(v, int), "0 or 1"),
    "iscrowd": (lambda v: v in (0, 1) and isinstance(v, int), "0 or 1"),
    "area": (_is_number, "a number"),
    "bbox": (lambda v: isinstance(v, list) and len(v) == 4 and all(map(_is_number, v)), "four numbers"),
    "color": (lambda v: isinstance(v, list) and len(v) == 3 and all(map(_is_whole_number, v)), "three whole numbers"),
    "segments_info": (lambda v: isinstance(v, list) and all(isinstance(s, dict) for s in v), "a list of objects"),
}
OPTIONAL = ("color",)
IMAGE_KINDS = {"id": KINDS["image_id"]}  # an image id may be text


def read_coco(path: str | Path, what: str, required: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The contents of a COCO JSON, with its lists checked.

    Args:
        path: of the file. what: the format, for errors.
        required: dict of "images", "annotations" and "categories" to the fields that their entries must have.

    Raises:
        InputError: no file, not JSON, a list is missing, or an entry lacks a field or has one of the wrong type.
    """
    content = read_json(path, f"a {what} JSON")
    for key, fields in required.items():
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InputError(f"{path}: expected a list of objects under {key!r} ({what} format)")
        for index, entry in enumerate(entries):
            if fault := field_fault(entry, fields, IMAGE_KINDS if key == "images" else {}):
                raise InputError(f"{path}: {key}[{index}] {fault}")
    return content


def field_fault(entry: dict[str, Any], fields: Sequence[str], kinds: Mapping[str, Any] | None = None) -> str | None:
    """The fault in the fields of an object: a text such as "lacks id", or None.

    Args:
        entry: dict. fields: names that it must have; optional ones are checked if present.
        kinds: dict of overrides of `KINDS`.
    """
    if lacking := [name for name in fields if name not in entry]:
        return f"lacks {', '.join(lacking)}"
    for name in (*fields, *(name for name in OPTIONAL if name in entry)):
        fits, expected = {**KINDS, **(kinds or {})}[name]
        if not fits(entry[name]):
            return f"has {name} {brief(entry[name])}, expected {expected}"
    return None
