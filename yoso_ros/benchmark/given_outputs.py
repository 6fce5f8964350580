# SPDX-License-Identifier: Apache-2.0
"""Outputs of a synthetic scene to replace those of random weights, so that the fusion has its usual work.

Legend: `N` requested segments; `h w` map at stride 4.
"""

import torch

from yoso_ros.benchmark.dense_masks import LARGEST, dense_box_scene
from yoso_ros.benchmark.merge import panoptic_proposals
from yoso_ros.errors import InputError

STRIDE = 4
OWN_LOGIT, STUFF_LOGIT = 8.0, 2.0  # of an instance on its pixels, and of stuff


class GivenOutputs:
    """Outputs with a known number of kept segments, created once for each shape.

    Args: kept: their number. config: model configuration.

    Raises:
        InputError: the network is not supported.
    """

    def __init__(self, kept, config):
        if config.architecture not in MAKERS:
            raise InputError(f"given outputs are for {', '.join(MAKERS)}, found {config.architecture}")
        self._kept, self._config, self._made = kept, config, {}

    def __call__(self, outputs):
        """`Outputs`, with or without a batch axis -> given ones of the same shapes."""
        shapes = tuple(tuple(tensor.shape) for tensor in outputs)
        key = shapes, outputs[0].device
        if key not in self._made:
            make = MAKERS[self._config.architecture]
            batched = outputs[0].ndim > 2
            one = type(outputs)(*(tensor[0] for tensor in outputs)) if batched else outputs
            made = [tensor.to(outputs[0].device) for tensor in make(one, self._kept, self._config)]
            if batched:
                made = [tensor.expand(len(outputs[0]), *tensor.shape).clone() for tensor in made]
            self._made[key] = type(outputs)(*made)
        return self._made[key]


def _mask_classification(outputs, kept, config):
    size = [STRIDE * side for side in outputs.mask_logits.shape[-2:]]
    return panoptic_proposals(kept, size, len(config.label_set), proposals=len(outputs.mask_logits))


def _dense_boxes(outputs, kept, config):
    size = [STRIDE * side for side in outputs.dense_boxes.shape[-2:]]
    scene, queries = dense_box_scene(size, kept, 0, config, len(outputs.dense_boxes) // 4, LARGEST)
    return _with_boxes(scene, queries)


def _unified(outputs, kept, config):
    if type(outputs)._fields[-1] != "stuff_logits" or config.attention != "vector":
        raise InputError("given outputs of dr1mask are for mode panoptic with attention vector")
    size = [STRIDE * side for side in outputs.basis.shape[-2:]]
    scene, queries = dense_box_scene(size, kept, 0, config, 1, LARGEST)
    found = _with_boxes(scene, queries)
    generator = torch.Generator().manual_seed(0)
    codes = torch.nn.functional.normalize(torch.randn((kept, len(outputs.basis)), generator=generator))
    embeddings = torch.zeros(outputs.embeddings.shape)
    embeddings[:kept] = codes * OWN_LOGIT
    # Each pixel has the embedding of the instance whose ellipse contains it.
    rows, columns = (torch.arange(side) * STRIDE + 2.0 for side in outputs.basis.shape[-2:])
    basis = torch.zeros(outputs.basis.shape)
    for code, (x1, y1, x2, y2) in zip(codes, queries.boxes.tolist(), strict=True):
        across = ((columns - (x1 + x2) / 2) / max(1.0, (x2 - x1) / 2)) ** 2
        inside = across[None] + (((rows - (y1 + y2) / 2) / max(1.0, (y2 - y1) / 2)) ** 2)[:, None] < 1
        basis[:, inside] = code[:, None]
    stuff = torch.zeros(outputs.stuff_logits.shape)
    bands = torch.arange(stuff.shape[1]) * len(stuff) // stuff.shape[1]
    stuff[bands, torch.arange(stuff.shape[1])] = STUFF_LOGIT
    return found.box_scores, found.boxes, found.centerness, embeddings, basis, stuff


def _with_boxes(scene, queries):
    """Insert the queries as detections at the first locations."""
    place = torch.arange(len(queries.boxes))
    scene.boxes[place] = queries.boxes
    scene.box_scores[place, queries.classes] = torch.linspace(0.95, 0.5, len(place))
    return scene


# architecture -> function of (outputs of one image, kept, config) to given ones
MAKERS = {
    "yoso": _mask_classification,
    "hugging_face": _mask_classification,
    "realtimepan": _dense_boxes,
    "dr1mask": _unified,
}
