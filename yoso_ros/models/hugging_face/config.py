# SPDX-License-Identifier: Apache-2.0
"""The configuration of a model of the hub: what its checkpoint says of the network and of the frames it takes."""

import importlib.metadata
from dataclasses import dataclass, field
from typing import Any, Literal

from yoso_ros.configuration import check_ranges
from yoso_ros.errors import InputError
from yoso_ros.models.config import NOT_IN_GRAPH, ModelConfig

DIVISOR = 32  # of the input of networks that take any size: the coarsest map of their backbones
MASK_STRIDE = 4


@dataclass(frozen=True, kw_only=True)
class HuggingFaceConfig(ModelConfig):
    """A model of the hub. A YAML file needs only `architecture` and `source`; the checkpoint's own files give the rest.

    The checkpoints do not include thresholds; the defaults are those of the authors of Mask2Former and of EoMT.

    Attributes:
        source: "hf:ORG/NAME@REVISION", or a folder.
        network: the contents of the checkpoint's config.json.
        resize: "edges", both edges bounded, keeping the aspect ratio; "stretch", to a square regardless of the aspect
            ratio; "canvas", as "edges", then padded with black to a square.
        size_multiple: both sides are stretched to the next multiple of it.
        task_tokens: for OneFormer: the token ids of "the task is panoptic", padded with 0.
    """

    architecture: Literal["hugging_face"] = "hugging_face"
    source: str = field(metadata=NOT_IN_GRAPH)
    network: dict[str, Any]
    backbone: str = field(default="", metadata=NOT_IN_GRAPH)  # in words
    score_threshold: float = field(default=0.8, metadata=NOT_IN_GRAPH)
    resize: Literal["edges", "stretch", "canvas"] = "edges"
    size_multiple: int = field(default=1, metadata=NOT_IN_GRAPH)
    task_tokens: tuple[int, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        check_ranges(self, {"size_multiple": (1, 1024), "task_tokens": (0, None)})
        if self.side and not self.side == self.shortest_edge == self.longest_edge:
            raise InputError(
                f"{self.source}: expected shortest_edge and longest_edge {self.side}, the one size that this network "
                f"takes, found {self.shortest_edge} and {self.longest_edge}"
            )
        if self.resize == "stretch" and self.shortest_edge != self.longest_edge:
            raise InputError(
                f"{self.source}: expected a square input, found {self.shortest_edge} and {self.longest_edge}"
            )

    @property
    def reference(self) -> str:
        return self.source

    @property
    def family(self) -> str:
        """The kind of network: `model_type` in transformers."""
        return self.network["model_type"]

    @property
    def side(self) -> int:
        """Side of the square that the network takes, in pixels; 0 where it takes any size."""
        return int(self.network.get("image_size", 640)) if self.family.startswith("eomt") else 0

    @property
    def size_divisor(self) -> int:
        """Of the sides of the network's input."""
        return self.side or DIVISOR

    @property
    def input_shape(self) -> tuple[int, int] | None:
        if self.resize == "edges":
            return None
        side = -(-self.shortest_edge // self.size_divisor) * self.size_divisor
        return side, side

    @property
    def graph_is_sized(self) -> bool:
        # The sizes of the maps that deformable attention samples are numbers in the graph; and a model whose frames
        # are stretched to one size may be measured at another.
        return self.family in ("mask2former", "oneformer") or self.resize == "stretch" and not self.side

    @property
    def onnx_is_of_one_shape(self) -> bool:
        return True

    @property
    def padding_color(self) -> tuple[float, ...]:
        return (0.0, 0.0, 0.0) if self.resize == "canvas" else self.pixel_mean

    @property
    def num_proposals(self) -> int:
        """Number of queries."""
        queries = self.network.get("num_queries", self.network.get("decoder_config", {}).get("num_queries", 100))
        return int(queries)

    def network_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) to which a frame is resized, rounded as transformers does it."""
        if self.resize == "stretch":
            return self.shortest_edge, self.longest_edge
        size = aspect_size(height, width, self.shortest_edge, self.longest_edge)
        rounded = [-(-max(1, side) // self.size_multiple) * self.size_multiple for side in size]
        return rounded[0], rounded[1]

    def graph_fields(self) -> dict[str, Any]:
        """As of every configuration, and the version of the package whose code the graph is of."""
        return {**super().graph_fields(), "transformers": importlib.metadata.version("transformers")}


def aspect_size(height: int, width: int, shortest_edge: int, longest_edge: int) -> tuple[int, int]:
    """The size after resizing as computed by transformers, equal to `network_size` of this package up to a pixel.

    The long side is truncated in floating point: 640 may become 639.
    """
    short, long = min(height, width), max(height, width)
    edge = float(shortest_edge)
    new_short = shortest_edge
    if long / short * shortest_edge > longest_edge:
        edge = longest_edge * short / long
        new_short = round(edge)
    new_long = long if new_short == short else int(edge * long / short)
    return (new_short, new_long) if height <= width else (new_long, new_short)
