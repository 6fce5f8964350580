# SPDX-License-Identifier: Apache-2.0
"""YOSO's panoptic merge implemented literally, step by step: the baseline of the benchmark and reference of the tests.

Legend: `N` proposals, `C` classes, `K` kept proposals; `h w` stride-4 map; `H W` output size.
"""

import torch
from torch.nn import functional


def literal_resize(mask_logits, input_size, output_size):
    """(N, h, w) maps to the padded input size, cropped to `input_size`, then to `output_size`: float32 (N, H, W)."""
    height, width = mask_logits.shape[-2:]
    maps = functional.interpolate(mask_logits[None], (4 * height, 4 * width), mode="bilinear", align_corners=False)
    maps = maps[..., : input_size[0], : input_size[1]]
    return functional.interpolate(maps, output_size, mode="bilinear", align_corners=False)[0]


def literal_panoptic_map(class_logits, full_size_logits, config, sigmoid=torch.sigmoid):
    """Segment map int32 (H, W) and list of (id, class_id, is_thing) from (N, C+1) and (N, H, W) logits.

    `sigmoid` can be replaced by one whose result does not depend on an element's memory position, for exact ties.
    """
    void = class_logits.shape[1] - 1
    scores, classes = class_logits.softmax(-1).max(-1)
    mask_probability = sigmoid(full_size_logits)
    kept = (classes != void) & (scores > config.score_threshold)
    scores, classes, mask_probability = scores[kept], classes[kept], mask_probability[kept]
    segment_map = torch.zeros(full_size_logits.shape[1:], dtype=torch.int32)
    segments, stuff_ids = [], {}
    if len(scores) == 0:
        return segment_map, segments
    winner = (scores[:, None, None] * mask_probability).argmax(0)
    for index in range(len(scores)):
        class_id = classes[index].item()
        is_thing = class_id in config.label_set.thing_ids
        winner_area = (winner == index).sum().item()
        mask_area = (mask_probability[index] >= 0.5).sum().item()
        painted = (winner == index) & (mask_probability[index] >= 0.5)
        if winner_area == 0 or mask_area == 0 or painted.sum().item() == 0:
            continue
        if winner_area / mask_area < config.overlap_threshold:
            continue
        if class_id in stuff_ids:
            segment_map[painted] = stuff_ids[class_id]
            continue
        segments.append((len(segments) + 1, class_id, is_thing))
        segment_map[painted] = len(segments)
        if not is_thing:
            stuff_ids[class_id] = len(segments)
    return segment_map, segments


def literal_merge(class_logits, mask_logits, input_size, output_size, config, sigmoid=torch.sigmoid):
    """`literal_panoptic_map` of `literal_resize`; arguments as `yoso_ros.fusion.merge_mask_classification`."""
    return literal_panoptic_map(class_logits, literal_resize(mask_logits, input_size, output_size), config, sigmoid)
