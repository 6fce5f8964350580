# SPDX-License-Identifier: Apache-2.0
"""RealTimePan's fusion implemented literally, step by step: the baseline of the benchmark and reference of the tests.

Legend: `N` instances, best first; `H W` output.
"""

import torch
from torch.nn import functional

from yoso_ros.benchmark.dense_masks import literal_scores
from yoso_ros.fusion.dense_boxes import MASK_STRIDE, find_queries
from yoso_ros.fusion.realtimepan import SEMANTIC_STRIDE


def literal_fusion(masks, values, scores, class_ids, semantic, confidence, config):
    """The conventional rule of Panoptic Segmentation (CVPR 2019): one instance at a time, then each stuff class.

    Args:
        masks: N bool (H, W). values: N float32 (H, W), mask probabilities.
        scores: float32 (N,), descending. class_ids: int64 (N,).
        semantic: uint8 (H, W), class ids. confidence: float32 (H, W), their probability.
        config: a `RealTimePanConfig`.

    Returns:
        (segment map int32 (H, W), list of (class id, score, area) of the segments 1, 2, ..., confidence uint8 (H, W)).
    """
    segment_map = torch.zeros(semantic.shape, dtype=torch.int32)
    certainty = torch.zeros(semantic.shape, dtype=torch.uint8)
    segments = []
    for mask, value, score, class_id in zip(masks, values, scores.tolist(), class_ids.tolist(), strict=True):
        if score < config.score_threshold:
            break
        area, free = int(mask.sum()), mask & (segment_map == 0)
        if area == 0 or not free.any() or int(free.sum()) / area < config.overlap_threshold:
            continue
        segments.append((class_id, score, int(free.sum())))
        segment_map[free] = len(segments)
        certainty[free] = (255 * torch.tensor(score) * value[free]).round().clamp(1, 255).to(torch.uint8)
    for class_id in range(len(config.label_set)):
        free = (semantic == class_id) & (segment_map == 0)
        if class_id in config.label_set.thing_ids or free.sum() < max(1, config.stuff_area_limit):
            continue
        segments.append((class_id, confidence[free].double().mean().item(), int(free.sum())))
        segment_map[free] = len(segments)
        certainty[free] = (255 * confidence[free]).round().clamp(1, 255).to(torch.uint8)
    return segment_map, segments, certainty


def literal_dense_box_merge(outputs, input_size, output_size, config):
    """Masks on whole maps (Eq. 4 to 7), logits of all classes at full size, `literal_fusion`.

    Arguments as of `yoso_ros.fusion.realtimepan.merge_dense_boxes`; the boxes come from the same `find_queries`.

    Returns:
        As `literal_fusion`.
    """
    queries = find_queries(outputs, input_size, config, config.score_threshold)

    def resized(maps, stride):
        maps = functional.interpolate(maps[None], scale_factor=stride, mode="bilinear", align_corners=False)
        maps = maps[..., : input_size[0], : input_size[1]]
        if tuple(input_size) != tuple(output_size):
            maps = functional.interpolate(maps, size=tuple(output_size), mode="bilinear", align_corners=False)
        return maps[0]

    values = [resized(scores[None], MASK_STRIDE)[0] for scores in literal_scores(outputs, queries, config)]
    masks = [value >= config.mask_threshold for value in values]
    semantic = resized(outputs.semantic_logits, SEMANTIC_STRIDE).argmax(0)
    confidence = resized(outputs.semantic_logits.softmax(0).amax(0, keepdim=True), SEMANTIC_STRIDE)[0]
    class_ids = torch.tensor(config.label_set.thing_ids)[queries.classes]
    return literal_fusion(masks, values, queries.scores, class_ids, semantic, confidence, config)
