# SPDX-License-Identifier: Apache-2.0
"""RealTimePan's mask construction against a literal implementation of its Eq. 5 to 7, on synthetic outputs.

Legend: `N` instances, `h w` map at stride 4, `H W` pixels.
"""

import json
import statistics
import sys
import time
from dataclasses import dataclass

import torch
from torch.nn import functional

from yoso_ros.benchmark.processes import forget_peak, memory_of_process, peak_mb
from yoso_ros.fusion.dense_boxes import MASK_STRIDE, MaskConstruction, location_score
from yoso_ros.fusion.detections import Detections, clip_boxes, level_map_sizes
from yoso_ros.fusion.realtimepan import dense_box_masks
from yoso_ros.models import load_config
from yoso_ros.models.realtimepan.network import RealTimePanOutputs

LARGEST = 1 / 8  # largest side of a synthetic instance in the benchmark, as a fraction of the image's


def empty_detections(size, things):
    """Box scores, boxes and centerness of a (height, width) image without detections."""
    locations = sum(h * w for h, w in level_map_sizes(*size))
    boxes = torch.tensor([10.0, 10, 30, 30]).expand(locations, 4).clone()
    return torch.zeros(locations, things), boxes, torch.ones(locations)


def dense_box_scene(size, count, seed, config, levels=1, largest=1 / 3):
    """Outputs for a scene of `count` ellipses with noisy dense boxes, and their queries.

    Args:
        size: (H, W), multiples of 32.
        config: a `RealTimePanConfig`.
        levels: dense boxes per pixel.
        largest: largest side of an ellipse beyond 16 pixels, as a fraction of the image's.

    Returns:
        (`RealTimePanOutputs` without detections, `Detections`).
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = (side // MASK_STRIDE for side in size)
    rows, columns = torch.meshgrid(*(torch.arange(side) * MASK_STRIDE + 2.0 for side in (height, width)), indexing="ij")
    things, classes = config.label_set.thing_ids, len(config.label_set)
    dense = torch.stack([columns - 12, rows - 12, columns + 12, rows + 12])
    labels = torch.zeros((height, width), dtype=torch.int64)
    boxes, kinds = [], []
    for _ in range(count):
        w, h, x, y, kind = torch.rand(5, generator=generator).tolist()
        w, h = 16 + w * size[1] * largest, 16 + h * size[0] * largest
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


def literal_scores(outputs, queries, config):
    """Eq. 5 and 6 on the whole map, one query at a time: yields N maps (h, w)."""
    height, width = outputs.dense_boxes.shape[-2:]
    logits = functional.interpolate(
        outputs.semantic_logits[None], size=(height, width), mode="bilinear", align_corners=False
    )
    probabilities = logits[0].softmax(0)
    levels = outputs.dense_boxes.view(-1, 4, height, width)
    for query, thing in zip(queries.boxes, queries.classes.tolist(), strict=True):
        query = query.view(4, 1, 1).expand(4, height, width)
        score = torch.stack([location_score(query, level, config.location_score) for level in levels]).amax(0)
        yield score * probabilities[config.label_set.thing_ids[thing]]


def literal_masks(outputs, queries, input_size, config):
    """Eq. 7 at the size of the input: yields N bool maps (H, W)."""
    for scores in literal_scores(outputs, queries, config):
        full = functional.interpolate(
            scores[None, None], scale_factor=MASK_STRIDE, mode="bilinear", align_corners=False
        )
        yield full[0, 0, : input_size[0], : input_size[1]] >= config.mask_threshold


def mask_pixels(outputs, queries, input_size, config):
    """The same masks as this package's fusion computes them: yields `MaskPixels`."""
    yield from MaskConstruction(queries, outputs, config).pixels(input_size, input_size)


FORMS = {"literal": literal_masks, "this package": mask_pixels}


@dataclass(frozen=True, slots=True)
class MaskTimes:
    """One case: pixels of all masks, and for each form the median wall-clock and processor time in ms."""

    size: tuple[int, int]
    instances: int
    mask_pixels: int
    milliseconds: dict[str, tuple[float, float]]


def measure_masks(size, instances, rounds, config):
    """Time both forms alternately, after a warm-up round; the masks are not kept.

    Raises:
        RuntimeError: masks differ.
    """
    outputs, queries = dense_box_scene(size, instances, 0, config, largest=LARGEST)
    case = outputs, queries, size, config
    pixels = _check_equal(FORMS["literal"](*case), dense_box_masks(queries, outputs, size, size, config))
    times = {name: [] for name in FORMS}
    for _ in range(rounds + 1):
        for name, form in FORMS.items():
            wall, processor = time.perf_counter(), time.process_time()
            for _ in form(*case):
                pass
            times[name].append((1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - processor)))
    medians = {n: tuple(map(statistics.median, zip(*spent[1:], strict=True))) for n, spent in times.items()}
    return MaskTimes(size, instances, pixels, medians)


def _check_equal(literal, masks):
    """Number of pixels of all masks, which must be equal."""
    pixels = 0
    for expected, mask in zip(literal, masks, strict=True):
        different = int((expected != mask).sum())
        if different:
            raise RuntimeError(f"{different} pixels of a mask differ from the literal one")
        pixels += int(mask.sum())
    return pixels


def peak_of_form_mb(form, size, instances, model):
    """Peak memory of one form beyond its input and the libraries, in a separate process: MB (10^6 bytes)."""
    return memory_of_process(__name__, [form, list(size), instances, model], form)


def _print_peak(form, size, instances, model):
    config = load_config(model)
    scene = dense_box_scene(tuple(size), instances, 0, config, largest=LARGEST)
    small = dense_box_scene((64, 64), 1, 0, config)
    list(FORMS[form](*small, (64, 64), config))  # memory that the libraries need
    forget_peak()
    before = peak_mb()
    for _ in FORMS[form](*scene, tuple(size), config):
        pass
    print(json.dumps(peak_mb() - before))


if __name__ == "__main__":
    _print_peak(*json.loads(sys.argv[1]))
