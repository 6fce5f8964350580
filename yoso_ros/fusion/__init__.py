# SPDX-License-Identifier: Apache-2.0
"""Raw network outputs of one image to a panoptic segment map, to instances, and to a semantic map."""

from collections.abc import Callable
from typing import Any, NamedTuple

from yoso_ros.extensions import find
from yoso_ros.fusion.dr1mask import find_unified_instances, find_unified_semantic_map, merge_unified
from yoso_ros.fusion.instances import Instances, find_instances
from yoso_ros.fusion.mask_classification import merge_mask_classification
from yoso_ros.fusion.merged import MergedSegment, MergedSegments
from yoso_ros.fusion.on_device import DeviceMerge, MaskClassificationOnDevice
from yoso_ros.fusion.realtimepan import find_dense_box_instances, find_dense_semantic_map, merge_dense_boxes
from yoso_ros.fusion.semantic import find_semantic_map

__all__ = [
    "FUSIONS",
    "DeviceMerge",
    "Fusion",
    "Instances",
    "MergedSegment",
    "MergedSegments",
    "find_fusion",
    "find_instances",
    "find_semantic_map",
    "merge_mask_classification",
]


class Fusion(NamedTuple):
    """The post-processing of a network. Each function takes (outputs, input_size, output_size, config):

    outputs: the network's `Outputs` for one image, without the batch axis. input_size: (height, width) of the network
    input before padding at the right and bottom. output_size: (height, width) of the result. config: the network's
    configuration.

    Attributes:
        merge: -> `MergedSegments`.
        instances: -> `Instances`, things only, best first.
        semantic: -> uint8 (H, W) tensor of class ids.
        on_device: class whose merge can be captured in a CUDA graph (see `MaskClassificationOnDevice`), or None: then
            frames take the host path after the network, on a GPU too.
    """

    merge: Callable[..., MergedSegments]
    instances: Callable[..., Instances]
    semantic: Callable[..., Any]
    on_device: type | None = None


_MASK_CLASSIFICATION = Fusion(
    merge=lambda outputs, *sizes_and_config: merge_mask_classification(*outputs, *sizes_and_config),
    instances=lambda outputs, *sizes_and_config: find_instances(*outputs, *sizes_and_config),
    semantic=lambda outputs, input_size, output_size, _config: find_semantic_map(*outputs, input_size, output_size),
    on_device=MaskClassificationOnDevice,
)
FUSIONS = {
    "yoso": _MASK_CLASSIFICATION,
    "hugging_face": _MASK_CLASSIFICATION,
    "realtimepan": Fusion(
        merge=merge_dense_boxes, instances=find_dense_box_instances, semantic=find_dense_semantic_map
    ),
    "dr1mask": Fusion(merge=merge_unified, instances=find_unified_instances, semantic=find_unified_semantic_map),
}


def find_fusion(architecture: str) -> Fusion:
    """The fusion for a configuration's `architecture`: one of `FUSIONS`, or one outside the package.

    Raises:
        InputError: there is none of that name.
    """
    return find(FUSIONS, architecture, "FUSION")
