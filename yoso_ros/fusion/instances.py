# SPDX-License-Identifier: Apache-2.0
"""Instances from a mask classification network (YOSO): class and mask logits of one image to scored masks.

Legend: `N` proposals, `C` classes, `K` instances; `h w` stride-4 map; `H W` output size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from yoso_ros.fusion.dense import chunks_of_masks, resize_mask_logits

MAX_INSTANCES_PER_IMAGE = 100  # the authors' choice, and the most that COCO's AP considers
EPSILON = 1e-6  # as in the authors' code; an empty mask has score 0


@dataclass(frozen=True, slots=True)
class Instances:
    """The instances of one image, best first. Masks may overlap, and one proposal may occur with several classes.

    Attributes:
        class_ids: int64 (K,).
        scores: float32 (K,), 0..1, class probability times mean mask probability inside the mask.
        proposals: int64 (K,), the proposal 0..N-1 of each.
        masks: bool (K, H, W).
        boxes: float32 (K, 4), x1 y1 x2 y2 in pixels of the network input, if the network has boxes; else None.
    """

    class_ids: torch.Tensor
    scores: torch.Tensor
    proposals: torch.Tensor
    masks: torch.Tensor
    boxes: torch.Tensor | None = None


@torch.no_grad()
def find_instances(
    class_logits: torch.Tensor,
    mask_logits: torch.Tensor,
    input_size: tuple[int, int],
    output_size: tuple[int, int],
    config: Any,
    limit: int = MAX_INSTANCES_PER_IMAGE,
    things_only: bool = True,
) -> Instances:
    """The `limit` most probable pairs of proposal and class, as in the YOSO authors' instance inference.

    Their code selects pairs among all classes and has the subsequent filter for things switched off; COCO's instance AP
    (supplement, Table 11) only has things.

    Args:
        class_logits: float (N, C+1), divided by the temperature; the last class is "no object".
        mask_logits: float (N, h, w), at stride 4 of the padded network input (4h, 4w), on the same device.
        input_size: (height, width) of the network input before padding at the right and bottom.
        output_size: (H, W) of the masks.
        config: has `label_set.thing_ids`.
        limit: maximum number of pairs considered, from which stuff is then removed.
        things_only: False keeps stuff as well.

    Returns:
        `Instances` on the device of the logits.
    """
    probabilities = class_logits.float().softmax(-1)[:, :-1]
    classes = probabilities.shape[1]
    scores, pairs = probabilities.flatten().topk(min(limit, probabilities.numel()))
    proposals, class_ids = pairs // classes, pairs % classes
    if things_only:
        kept = torch.isin(class_ids, torch.tensor(config.label_set.thing_ids, device=class_ids.device))
        scores, proposals, class_ids = scores[kept], proposals[kept], class_ids[kept]
    # A proposal that occurs with several classes is resized once.
    used, position = proposals.unique(return_inverse=True)
    masks = torch.empty((len(used), *output_size), dtype=torch.bool, device=scores.device)
    certainty = torch.empty(len(used), device=scores.device)
    for part in chunks_of_masks(len(used), output_size):
        logits = resize_mask_logits(mask_logits[used[part]].float(), tuple(input_size), tuple(output_size))
        inside = torch.gt(logits, 0, out=masks[part])
        certainty[part] = (logits.sigmoid_() * inside).sum((1, 2)) / (inside.sum((1, 2)) + EPSILON)
    scores, order = (scores * certainty[position]).sort(descending=True, stable=True)
    return Instances(class_ids[order], scores, proposals[order], masks[position[order]])
