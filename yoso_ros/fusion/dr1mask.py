# SPDX-License-Identifier: Apache-2.0
"""DR1Mask's outputs of one image to a panoptic segment map, to instances and to a semantic map.

One softmax over the stuff classes and the kept instances decides each pixel (Eq. 9); an instance takes part only inside
its box. An instance-only network has no stuff and computes masks in crops. Legend: `N` instances, best first; `S`
stuff classes; `h w` map at stride 4; `H W` output.
"""

from typing import Any

import torch
from torch.nn import functional

from yoso_ros.fusion.detections import Detections, best_of, clip_boxes, find_candidates, level_map_sizes
from yoso_ros.fusion.detections import non_maximum_suppression as suppress
from yoso_ros.fusion.dr1mask_instances import find_cropped_instances, merge_cropped
from yoso_ros.fusion.instance_attention import map_logits
from yoso_ros.fusion.instances import Instances
from yoso_ros.fusion.merged import MergedSegment, MergedSegments
from yoso_ros.fusion.semantic_logits import first_best, semantic_confidence, semantic_map_of_logits

STRIDE = 4  # of the basis
MARGIN = 10.0  # logit of an instance outside its box, below the best stuff: a probability of 5e-5
MOST_CHANNELS = 255  # of the uint8 map of winners


@torch.no_grad()
def merge_unified(
    outputs: Any, input_size: tuple[int, int], output_size: tuple[int, int], config: Any
) -> MergedSegments:
    """The panoptic map.

    Args:
        outputs: the network's `Outputs` of one image, without the batch axis.
        input_size: (height, width) of the network input before padding at the right and bottom.
        output_size: (H, W) of the wanted map.
        config: a `Dr1MaskConfig`.

    Returns:
        `MergedSegments`: instances in the order of their score, then stuff by class. The score of stuff is its mean
        probability. An instance that wins less than `overlap_threshold` of the pixels where it beats stuff is dropped
        before the final competition; stuff smaller than `stuff_area_limit` pixels becomes void. In mode instance,
        pixels not covered by an instance are void.

    Raises:
        ValueError: inconsistent sizes.
    """
    _check(outputs, input_size, output_size)
    found = find_boxes(outputs, input_size, config, config.score_threshold)
    if config.mode == "instance":
        class_ids = _class_ids(config, found.classes.device)[0][found.classes]
        return merge_cropped(outputs, found, class_ids, input_size, output_size, config, STRIDE)
    stuff, things = _logits(outputs, found, config)
    kept = _enough_of_its_mask(stuff, things, config.overlap_threshold)
    found, logits = found.select(kept), torch.cat([stuff, things[kept]])
    winners = semantic_map_of_logits(logits, STRIDE, input_size, output_size).long()
    probability = semantic_confidence(logits, STRIDE, input_size, output_size)
    thing_ids, stuff_ids = _class_ids(config, winners.device)
    number, channels = len(stuff), len(logits)
    area = winners.flatten().bincount(minlength=channels)
    total = winners.flatten().bincount(probability.flatten().double(), minlength=channels)
    present = area > 0
    present[:number] &= area[:number] >= config.stuff_area_limit
    order = torch.cat([torch.arange(number, channels), torch.arange(number)]).to(area.device)
    order = order[present[order]]
    ids = torch.zeros(channels, dtype=torch.int32, device=area.device)
    ids[order] = torch.arange(1, len(order) + 1, dtype=torch.int32, device=area.device)
    classes = torch.cat([stuff_ids, thing_ids[found.classes]])
    scores = torch.cat([(total / area.clamp(min=1))[:number].float(), found.scores])
    columns = [order, ids[order], classes[order], scores[order], area[order]]
    numbers = torch.stack([column.double() for column in columns], 1).cpu().tolist()
    segments = [MergedSegment(int(i), int(c), channel >= number, score, int(n)) for channel, i, c, score, n in numbers]
    segment_map = ids[winners]
    weight = torch.cat([torch.ones_like(scores[:number]), found.scores])[winners]
    confidence = (255.0 * weight * probability).round().clamp(1.0, 255.0).to(torch.uint8)
    return MergedSegments(segment_map, segments, torch.where(segment_map > 0, confidence, 0))


@torch.no_grad()
def find_unified_instances(
    outputs: Any, input_size: tuple[int, int], output_size: tuple[int, int], config: Any
) -> Instances:
    """All kept boxes with their masks, highest score first.

    A mask has the pixels that more probably belong to it than to any stuff; in mode instance, than not.

    Args:
        as in `merge_unified`.

    Returns:
        `Instances` with `boxes` in pixels of the network input. Masks may overlap or be empty.
    """
    _check(outputs, input_size, output_size)
    found = find_boxes(outputs, input_size, config)
    class_ids = _class_ids(config, found.classes.device)[0][found.classes]
    if config.mode == "instance":
        return find_cropped_instances(outputs, found, class_ids, input_size, output_size, config, STRIDE)
    stuff, things = _logits(outputs, found, config)
    best = stuff.amax(0)
    masks = torch.empty((len(things), *output_size), dtype=torch.bool, device=things.device)
    for index, one in enumerate(things):  # one at a time: full-size maps of 100 instances would be gigabytes
        masks[index] = _resize(one - best, input_size, output_size) > 0
    proposals = torch.arange(len(things), device=masks.device)
    return Instances(class_ids, found.scores, proposals, masks, found.boxes)


@torch.no_grad()
def find_unified_semantic_map(
    outputs: Any, input_size: tuple[int, int], output_size: tuple[int, int], config: Any
) -> torch.Tensor:
    """The class of every pixel: uint8 (H, W), from the competition of stuff and instances. As in `merge_unified`.

    Raises:
        ValueError: inconsistent sizes, or an instance-only network, which does not classify pixels.
    """
    _check(outputs, input_size, output_size)
    if config.mode == "instance":
        raise ValueError(f"{config.name}: a network in mode instance has no semantic map")
    found = find_boxes(outputs, input_size, config, config.score_threshold)
    winners = semantic_map_of_logits(torch.cat(_logits(outputs, found, config)), STRIDE, input_size, output_size).long()
    thing_ids, stuff_ids = _class_ids(config, winners.device)
    return torch.cat([stuff_ids, thing_ids[found.classes]]).to(torch.uint8)[winners]


def find_boxes(outputs: Any, input_size: tuple[int, int], config: Any, least_score: float = 0.0) -> Detections:
    """The kept boxes: candidates of each level, clipped, class-wise suppression, the best overall.

    Args:
        as of `merge_unified`. least_score: leave out boxes below it before the suppression, where they suppress only
            each other.

    Returns:
        `Detections`, best first, at most `max_boxes` and at most what a uint8 map can hold besides the stuff.
    """
    sizes = level_map_sizes(*(STRIDE * side for side in outputs.basis.shape[-2:]))
    found = find_candidates(
        outputs.box_scores.float(),
        outputs.centerness.float(),
        outputs.boxes.float(),
        [height * width for height, width in sizes],
        threshold=config.class_threshold,
        limit=config.pre_nms_top_n,
        threshold_on="product",
        root=True,
    )
    # A box ends after its last pixel, as in the targets.
    found = found._replace(boxes=clip_boxes(found.boxes, [side + 1 for side in input_size]))
    found = found.select(found.scores >= least_score)
    found = found.select((found.boxes[:, 2:] > found.boxes[:, :2]).all(1))  # a box outside the image is clipped to none
    found = found.select(suppress(found.boxes, found.scores, config.nms_threshold, found.classes))
    most = config.max_boxes
    if config.mode == "panoptic":
        most = min(most, MOST_CHANNELS - len(outputs.stuff_logits))
    return found.select(best_of(found.scores, most))


def _logits(outputs, found: Detections, config):
    """Logits of stuff (S, h, w) and of instances (N, h, w), below stuff outside their boxes; NaN always loses."""
    stuff = torch.nan_to_num(outputs.stuff_logits.float(), nan=-MARGIN)
    height, width = stuff.shape[1:]
    embeddings = outputs.embeddings.float()[found.locations]
    components = outputs.attention_components.float() if config.attention == "factored" else None
    things = map_logits(outputs.basis.float(), embeddings, found.boxes, config.attention, components, STRIDE)
    floor = stuff.amax(0) - MARGIN
    things = torch.where(inside_boxes(found.boxes, (height, width)), things, floor)
    return stuff, torch.where(things.isnan(), floor, things)


def inside_boxes(boxes: torch.Tensor, size: tuple[int, int], stride: int = STRIDE) -> torch.Tensor:
    """Whether the centre of a map pixel lies in a box, widened by one map pixel: (N, 4) -> bool (N, h, w)."""
    y, x = ((torch.arange(side, device=boxes.device) + 0.5) * stride for side in size)
    x1, y1, x2, y2 = (boxes[:, i, None] for i in range(4))
    across = (x >= x1 - stride) & (x <= x2 + stride)
    down = (y >= y1 - stride) & (y <= y2 + stride)
    return down[:, :, None] & across[:, None]


def _enough_of_its_mask(stuff, things, threshold):
    """Bool (N,): the instance wins at least this share of the map pixels where it beats stuff, and at least one."""
    winners = first_best(torch.cat([stuff, things]).flatten(1).T.contiguous())
    won = winners.bincount(minlength=len(stuff) + len(things))[len(stuff) :]
    own = (things > stuff.amax(0)).sum((1, 2))
    return (won > 0) & (won.double() >= threshold * own.double())


def _resize(x, input_size, output_size):
    """Resize one map (h, w) to (H, W) via the network input."""
    size = [STRIDE * side for side in x.shape]
    x = functional.interpolate(x[None, None], size=size, mode="bilinear", align_corners=False)
    x = x[..., : input_size[0], : input_size[1]]
    return functional.interpolate(x, size=tuple(output_size), mode="bilinear", align_corners=False)[0, 0]


def _class_ids(config, device):
    things = list(config.label_set.thing_ids)
    stuff = [i for i in range(config.num_classes) if i not in things]
    return torch.tensor(things, device=device), torch.tensor(stuff, device=device)


def _check(outputs, input_size, output_size):
    height, width = (STRIDE * side for side in outputs.basis.shape[-2:])
    if not (1 <= input_size[0] <= height and 1 <= input_size[1] <= width):
        raise ValueError(f"expected an input_size within {(height, width)}, that of the basis, got {input_size}")
    if min(output_size) < 1:
        raise ValueError(f"expected an output_size of at least 1 pixel, got {output_size}")
