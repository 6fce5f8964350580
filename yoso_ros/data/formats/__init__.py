# SPDX-License-Identifier: Apache-2.0
"""Formats that annotation tools read and write: any data set can be exported to each, and each can be imported.

For what each can hold see docs/own_data.md. Polygons and run lengths are handled by the libraries of pycocotools.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from yoso_ros.data.formats import cityscapes_layout, coco_instances, coco_layout, index_masks, voc_masks


class DataFormat(NamedTuple):
    """One format.

    `export(dataset, folder, split, options, watch)` writes a split and returns lines about what the format cannot hold.
    `read(folder, split, options)` returns (`LabelSet`, iterator of `ForeignImage`) with `len()` of the first known.
    """

    summary: str
    export: Callable[..., Any]
    read: Callable[..., Any]


FORMATS = {
    "coco-panoptic": DataFormat(coco_layout.SUMMARY, coco_layout.export, coco_layout.read),
    "coco-instances": DataFormat(coco_instances.SUMMARY, coco_instances.export, coco_instances.read),
    "voc-masks": DataFormat(voc_masks.SUMMARY, voc_masks.export, voc_masks.read),
    "index-masks": DataFormat(index_masks.SUMMARY, index_masks.export, index_masks.read),
    "cityscapes": DataFormat(cityscapes_layout.SUMMARY, cityscapes_layout.export, cityscapes_layout.read),
}
