# SPDX-License-Identifier: Apache-2.0
"""The part of a model configuration that all networks have in common."""

import re
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from yoso_ros.configuration import check_ranges
from yoso_ros.errors import InputError
from yoso_ros.label_sets import LabelSet

# Metadata of a field that acts before or after the network: changing it does not require a new export of the graph.
NOT_IN_GRAPH = {"in_graph": False}
LARGEST_EDGE = 16384  # pixels


def network_size(height: int, width: int, shortest_edge: int, longest_edge: int) -> tuple[int, int]:
    """Size after resizing: the shortest edge becomes `shortest_edge` unless the longest would exceed `longest_edge`.

    Returns:
        (height, width), each at least 1.
    """
    scale = shortest_edge / min(height, width)
    if max(height, width) * scale > longest_edge:
        scale = longest_edge / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The fields that every network has; the keys of a YAML file in config/models are these and those of its network.

    `pixel_mean` and `pixel_std` are RGB, 0..255. Fields marked with `NOT_IN_GRAPH` do not change an exported graph.
    """

    name: str = field(metadata=NOT_IN_GRAPH)
    architecture: str
    label_set: LabelSet = field(metadata=NOT_IN_GRAPH)
    backbone: Literal["resnet18", "resnet34", "resnet50", "mobilenet_v2"] = "resnet50"
    backbone_norm: Literal["frozen_batch_norm", "batch_norm"] = "frozen_batch_norm"
    score_threshold: float = field(default=0.7, metadata=NOT_IN_GRAPH)
    overlap_threshold: float = field(default=0.8, metadata=NOT_IN_GRAPH)
    shortest_edge: int = field(default=800, metadata=NOT_IN_GRAPH)
    longest_edge: int = field(default=1333, metadata=NOT_IN_GRAPH)
    pixel_mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, ...] = (58.395, 57.12, 57.375)

    def __post_init__(self):
        # The name becomes part of file names in the cache and in output folders.
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}", self.name):
            raise InputError(f"name: expected letters, digits and _ . + -, at most 100, found {self.name[:200]!r}")
        check_ranges(
            self,
            {
                "score_threshold": (0.0, 1.0),
                "overlap_threshold": (0.0, 1.0),
                "shortest_edge": (1, LARGEST_EDGE),
                "longest_edge": (1, LARGEST_EDGE),
                "pixel_mean": (0.0, 255.0),
                "pixel_std": (1e-3, 1e3),
            },
        )
        for name in ("pixel_mean", "pixel_std"):
            if len(getattr(self, name)) != 3:
                raise InputError(f"{name}: expected 3 numbers, found {len(getattr(self, name))}")

    @property
    def reference(self) -> str:
        """What a user names as the model to get this configuration."""
        return self.name

    @property
    def num_classes(self) -> int:
        """Number of classes of the label set."""
        return len(self.label_set)

    def network_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) to which a frame of the given size is resized before padding."""
        return network_size(height, width, self.shortest_edge, self.longest_edge)

    @property
    def input_shape(self) -> tuple[int, int] | None:
        """(H, W) of the network's input if all frames get the same size; None if it depends on the frame."""
        return None

    @property
    def graph_is_sized(self) -> bool:
        """Whether an exported graph holds for one size of the network's input only."""
        return False

    @property
    def onnx_is_of_one_shape(self) -> bool:
        """Whether the exporter to ONNX makes graphs for one (B, H, W) only."""
        return False

    @property
    def padding_color(self) -> tuple[float, ...]:
        """RGB 0..255 with which frames are padded at the right and bottom."""
        return self.pixel_mean

    def graph_fields(self) -> dict[str, Any]:
        """The fields that determine the exported graph (apart from the weights), by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.metadata.get("in_graph", True)}
