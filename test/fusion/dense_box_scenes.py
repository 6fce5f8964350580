# SPDX-License-Identifier: Apache-2.0
"""Made-up outputs of a RealTimePan network, and the masks as the paper writes them: one instance after the other."""

import dataclasses

import torch
from torch.nn import functional

from yoso_ros.fusion.dense_boxes import location_score
from yoso_ros.fusion.detections import Detections, clip_boxes, level_map_sizes
from yoso_ros.models import load_config
from yoso_ros.models.realtimepan.network import RealTimePanOutputs

CONFIG = dataclasses.replace(
    load_config("realtimepan_mobilenetv2_synthetic"), location_score="iou", mask_threshold=0.4, stuff_area_limit=64
)


def grid(height, width):
    rows, columns = torch.meshgrid(torch.arange(height) * 4 + 2.0, torch.arange(width) * 4 + 2.0, indexing="ij")
    return rows, columns


def scene(size, count, seed, config=CONFIG, levels=1):
    """Outputs in which `count` blobs have noisy boxes, and the queries that look for them: (outputs, `Detections`).

    size: (H, W), multiples of 32. levels: dense boxes per pixel.
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = size[0] // 4, size[1] // 4
    rows, columns = grid(height, width)
    things, classes = config.label_set.thing_ids, len(config.label_set)
    dense = torch.stack([columns - 12, rows - 12, columns + 12, rows + 12])
    labels = torch.zeros((height, width), dtype=torch.int64)
    boxes, kinds = [], []
    for _ in range(count):
        w, h, x, y, kind = torch.rand(5, generator=generator).tolist()
        w, h = 16 + w * size[1] / 3, 16 + h * size[0] / 3
        x, y, kind = x * (size[1] - w / 2), y * (size[0] - h / 2), int(kind * len(things))
        blob = ((columns - x - w / 2) / (w / 2)) ** 2 + ((rows - y - h / 2) / (h / 2)) ** 2 < 1
        box = torch.tensor([x, y, x + w, y + h])
        dense[:, blob] = box[:, None] + torch.randn((4, int(blob.sum())), generator=generator) * min(w, h) / 16
        labels[blob] = things[kind]
        boxes.append(box)
        kinds.append(kind)
    dense = torch.cat([dense, *(dense + 40 * level for level in range(1, levels))])
    semantic = functional.avg_pool2d(functional.one_hot(labels, classes).permute(2, 0, 1).float(), 2) * 6
    semantic = semantic + torch.randn(semantic.shape, generator=generator) / 2
    queries = Detections(
        clip_boxes(torch.stack(boxes) if boxes else torch.zeros(0, 4), size),
        torch.linspace(0.95, 0.2, count),
        torch.tensor(kinds, dtype=torch.int64),
        torch.zeros(count, dtype=torch.int64),
    )
    return RealTimePanOutputs(*empty_detections(size, len(things)), dense, semantic), queries


def empty_detections(size, things):
    """Box scores, boxes and centerness in which nothing is found."""
    locations = sum(h * w for h, w in level_map_sizes(*size))
    boxes = torch.tensor([10.0, 10, 30, 30]).expand(locations, 4).clone()
    return torch.zeros(locations, things), boxes, torch.ones(locations)


def literal_scores(outputs, query, thing, config):
    """Eq. 5 and 6 for one query: its score map at stride 4."""
    height, width = outputs.dense_boxes.shape[-2:]
    logits = functional.interpolate(
        outputs.semantic_logits[None], size=(height, width), mode="bilinear", align_corners=False
    )
    probability = logits[0].softmax(0)[config.label_set.thing_ids[thing]]
    query = query.view(4, 1, 1).expand(4, height, width)
    levels = outputs.dense_boxes.view(-1, 4, height, width)
    return torch.stack([location_score(query, level, config.location_score) for level in levels]).amax(0) * probability


def literal_masks(outputs, queries, input_size, config):
    """The whole map for one instance after the other: bool (N, *input_size)."""
    masks = []
    for query, thing in zip(queries.boxes, queries.classes.tolist(), strict=True):
        scores = literal_scores(outputs, query, thing, config)
        full = functional.interpolate(scores[None, None], scale_factor=4, mode="bilinear", align_corners=False)[0, 0]
        masks.append(full[: input_size[0], : input_size[1]] >= config.mask_threshold)
    return torch.stack(masks) if masks else torch.zeros((0, *input_size), dtype=torch.bool)
